/*
 * bus_template -- a good segment as the ground that inputs are written over.
 *
 * Random bytes would never pass the checksum; so an input is a list of patches
 * {where, at (2), length, bytes…} and the checksum is made to fit afterwards.
 */
#ifndef TESTS_FUZZ_BUS_TEMPLATE_H
#define TESTS_FUZZ_BUS_TEMPLATE_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "shm/crc32c.h"
#include "shm/layout.h"
#include "shm/writer.h"

struct bus_template {
	char dir[64], segment[96];
	uint8_t *good, *now; /* the segment as written, and with patches */
	size_t n, fixed_n;   /* all of it, and the immutable part */
};

static inline void template_remove(const struct bus_template *t)
{
	char path[128];
	static const char *const leaves[] = { "tunnel/segment", "tunnel/owner.lock" };

	for (size_t i = 0; i < array_len(leaves); i++) {
		snprintf(path, sizeof(path), "%s/%s", t->dir, leaves[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/tunnel", t->dir);
	rmdir(path);
	rmdir(t->dir);
}

/* A tunnel with two forwards that has done a little of everything. */
static inline void template_init(struct bus_template *t)
{
	static const char *const forwards[] = { "web", "k8s-api" };
	struct bus_writer *w;
	struct stat st;

	snprintf(t->dir, sizeof(t->dir), "%s/bus-fuzz.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	must(mkdtemp(t->dir));
	snprintf(t->segment, sizeof(t->segment), "%s/tunnel/segment", t->dir);
	must(bus_writer_new(&w,
			    &(struct bus_writer_options){ .dir = t->dir,
							  .role = BUS_TUNNEL,
							  .build = "fuzz",
							  .forwards = forwards,
							  .forwards_n = 2 },
			    NULL) == 0 &&
	     !bus_writer_degraded(w));
	bus_add(w, BUS_TUNNEL_BYTES, 1, 1000);
	bus_observe(w, BUS_TUNNEL_PING_RTT, 0, 1000);
	bus_publish_session(w, &(struct bus_session){ .state = BUS_STATE_UP });
	bus_publish_observed(w, &(struct bus_observed){ .gen_seen = 1 });
	bus_log(w, 1, "line", 4);
	bus_event(w, "up");
	bus_writer_free(w, 0);

	const int fd = open(t->segment, O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && fstat(fd, &st) == 0);
	t->n = (size_t)st.st_size;
	t->good = malloc(t->n);
	t->now = malloc(t->n);
	must(t->good && t->now && read(fd, t->good, t->n) == st.st_size);
	close(fd);
	memcpy(t->now, t->good, t->n);
	t->fixed_n = ((const struct bus_header *)t->good)->immutable_len;
}

/* 0: the header; a type of section: its line in the table of contents; 16 and
 * more: the section itself.  Where the template has it, whatever `now` says. */
static inline size_t template_place(const struct bus_template *t, unsigned where)
{
	const struct bus_header *h = (const void *)t->good;

	for (unsigned i = 0; i < h->sections_n; i++)
		if (h->toc[i].type == (where & 15))
			return where & 16 ? h->toc[i].off : 256 + 32 * i;
	return 0;
}

/* The first `limit` bytes anew, with the patches that fall into them. */
static inline void template_patch(struct bus_template *t, size_t limit, const uint8_t *p, size_t n)
{
	memcpy(t->now, t->good, limit);
	while (n > 4) {
		const size_t len = min_size(n - 4, p[3] % 64u + 1u);
		const size_t at = template_place(t, p[0] & 31) + get_be(p + 1, 2);

		if (at <= limit - len)
			memcpy(t->now + at, p + 4, len);
		p += 4 + len;
		n -= 4 + len;
	}
}

static inline void template_seal(struct bus_template *t)
{
	struct bus_header *h = (void *)t->now;
	const size_t end = h->immutable_len < BUS_PAGE || h->immutable_len > t->n
				   ? BUS_PAGE
				   : h->immutable_len;

	h->crc = bus_crc32c(bus_crc32c(0, h, offsetof(struct bus_header, crc)), t->now + BUS_PAGE,
			    end - BUS_PAGE);
}

#endif
