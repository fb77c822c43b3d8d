/* Dumping any segment file: an answer, in clean lines or in JSON that parses,
 * which says the same as the return code. */
#include <json-c/json.h>
#include <sys/mman.h>

#include "status-server/pages/dump.h"
#include "tests/fuzz/bus_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { AS_JSON = 1, UNSEALED = 2, CUT = 4 };

static struct bus_template template;
static char path[32];
static int fd = -1;

static void setup(void)
{
	template_init(&template);
	template_remove(&template);
	fd = memfd_create("segment", MFD_CLOEXEC);
	must(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
}

static void check_json(const char *text, int rc)
{
	struct json_object *doc = json_tokener_parse(text), *valid, *contents;

	must(doc && json_object_object_get_ex(doc, "valid", &valid));
	must(json_object_get_boolean(valid) == (rc == 0));
	must((json_object_object_get_ex(doc, "numbers", &contents) != 0) == (rc == 0));
	json_object_put(doc);
}

static void check_lines(const char *text, size_t n, int rc)
{
	must(strlen(text) == n);
	must(strstr(text, rc ? "\nvalid: false\n" : "\nvalid: true\n"));
	for (size_t i = 0; i < n; i++)
		must((uint8_t)text[i] >= ' ' || text[i] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fault why = { 0 };
	struct buf out;

	if (fd < 0)
		setup();
	if (n == 0)
		return 0;
	template_patch(&template, template.n, p + 1, n - 1);
	if (!(p[0] & UNSEALED))
		template_seal(&template);
	const size_t length = p[0] & CUT ? template.n * (p[0] >> 3) / 32 : template.n;
	must(ftruncate(fd, (off_t)length) == 0);
	must(pwrite(fd, template.now, length, 0) == (ssize_t)length);

	buf_init(&out, &mem_heap, 32u << 20);
	const int rc = dump_write(&out, path, p[0] & AS_JSON, &why);
	must(rc == 0 || (rc < 0 && why.code && why.why[0]));
	must(rc != ERR_NOMEM && buf_append(&out, "", 1) == 0);
	const struct mspan text = buf_bytes(&out);
	if (p[0] & AS_JSON)
		check_json((const char *)text.p, rc);
	else
		check_lines((const char *)text.p, text.n - 1, rc);
	buf_fini(&out);
	return 0;
}
