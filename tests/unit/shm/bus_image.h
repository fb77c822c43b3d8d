/*
 * bus_image -- a segment as bytes, to be made wrong, or other than a writer of
 * this version would.
 */
#ifndef TESTS_UNIT_SHM_BUS_IMAGE_H
#define TESTS_UNIT_SHM_BUS_IMAGE_H

#include "shm/crc32c.h"
#include "shm/layout.h"
#include "tests/unit/shm/bus_fixture.h"

/* A good segment of a tunnel with two forwards, as bytes. */
struct image {
	uint8_t *p;
	size_t n;
};

static inline void image_read(struct image *i)
{
	struct bus_fixture f;
	char path[128];
	struct stat st;

	fixture_init(&f);
	bus_writer_free(fixture_writer(&f, BUS_TUNNEL), 0);
	fixture_path(&f, path, "tunnel/segment");
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && fstat(fd, &st) == 0);
	i->n = (size_t)st.st_size;
	i->p = malloc(i->n);
	must(i->p && read(fd, i->p, i->n) == st.st_size);
	close(fd);
	fixture_fini(&f);
}

static inline struct bus_header *header_of(const struct image *i)
{
	return (struct bus_header *)i->p;
}

static inline struct bus_toc_entry *toc_of(const struct image *i, unsigned type)
{
	struct bus_header *h = header_of(i);

	for (unsigned k = 0; k < h->sections_n; k++)
		if (h->toc[k].type == type)
			return &h->toc[k];
	must_failed(__FILE__, __LINE__, "a section of the image");
}

static inline uint8_t *section_of(const struct image *i, unsigned type)
{
	return i->p + toc_of(i, type)->off;
}

static inline const char *strings_of(const struct image *i)
{
	return (const char *)section_of(i, BUS_SECTION_STRINGS);
}

static inline struct bus_descriptor *descriptor_of(const struct image *i, const char *name)
{
	struct bus_descriptor *d = (void *)section_of(i, BUS_SECTION_DESCRIPTORS);

	while (strcmp(strings_of(i) + d->name, name) != 0)
		d++;
	return d;
}

static inline void seal(const struct image *i)
{
	struct bus_header *h = header_of(i);
	const size_t end = h->immutable_len < BUS_PAGE || h->immutable_len > i->n
				   ? BUS_PAGE
				   : h->immutable_len;

	h->crc = bus_crc32c(bus_crc32c(0, h, offsetof(struct bus_header, crc)), i->p + BUS_PAGE,
			    end - BUS_PAGE);
}

#endif
