/* Durations, addresses and command lines: texts of one line. */
#include <stdlib.h>

#include "lib/app/config/config_private.h"

static void check_printable(const struct fault *why)
{
	must(why->why[0]);
	for (const char *s = why->why; *s; s++)
		must(*s >= 0x20 && *s < 0x7f);
}

static void check_flag(char *text)
{
	static struct config c;
	struct fault why = { 0 };
	enum config_verb verb;
	char name[] = "program";
	char *argv[] = { name, text, text, NULL };

	setenv("PIPEOPS_CONFIG", "/dev/null/none", 1); /* the search for a file ends here */
	if (config_load(&c, CONFIG_ALL, 3, argv, &verb, &why) < 0)
		check_printable(&why);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fault why = { 0 };
	uint64_t ns;
	char host[256];
	uint16_t port;

	char *text = malloc(n + 1); /* of its exact size, for the sanitizer */
	must(text);
	memcpy(text, p, n);
	text[n] = '\0';
	if (config_duration(text, &ns, &why) < 0)
		check_printable(&why);
	else
		must(ns <= 1000ull * 3600 * 1000000000);
	why = (struct fault){ 0 };
	if (config_address(text, host, &port, &why) < 0)
		check_printable(&why);
	else
		must(host[0] && port);
	check_flag(text);
	free(text);
	return 0;
}
