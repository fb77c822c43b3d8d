#include "lib/app/log.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/cases.h"

static int ends[2]; /* a pipe: the log writes into [1] */
static char line[70000];

static void begin(bool json, enum log_level level)
{
	must(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	/* As a container's stderr is: blocking. */
	must(fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) & ~O_NONBLOCK) == 0);
	log_start(&(struct log_options){
		.component = "tunnel", .level = level, .json = json, .fd = ends[1] });
}

static void end(void)
{
	log_start(&(struct log_options){ .component = "", .level = LOG_ERROR, .fd = -1 });
	close(ends[0]);
	close(ends[1]);
}

/* What has been written since, without its last newline. */
static const char *got(void)
{
	const ssize_t n = read(ends[0], line, sizeof(line) - 1);

	line[n > 0 ? n : 0] = '\0';
	if (n > 0)
		check(line[n - 1] == '\n');
	if (n > 0)
		line[n - 1] = '\0';
	return line;
}

static void test_json(void)
{
	begin(true, LOG_INFO);
	log_info("tunnel_up", "tunnel is up", L_STR("server", "a\"b"), L_INT("forwards", -3),
		 L_BOOL("tls", true), L_NS("after_s", 1500000000),
		 L_SPAN("peer", span_of("x\0y", 3)), L_STR("none", NULL));
	const char *text = got();
	check(strncmp(text, "{\"time\":\"20", 11) == 0 && text[11 + 2] == '-' &&
	      strncmp(text + 32, "Z\",", 3) == 0);
	check(strcmp(text + 33,
		     "\",\"level\":\"info\",\"component\":\"tunnel\",\"event\":\"tunnel_up\","
		     "\"msg\":\"tunnel is up\",\"server\":\"a\\\"b\",\"forwards\":-3,\"tls\":true,"
		     "\"after_s\":1.500000,\"peer\":\"x\\u0000y\",\"none\":\"\"}") == 0);
	log_info("tunnel_up", "no fields");
	check(strstr(got(), "\"msg\":\"no fields\"}") != NULL);
	end();
}

static void test_text(void)
{
	begin(false, LOG_DEBUG);
	log_warn("tunnel_retry", "lost", L_STR("why", "a b"), L_INT("n", 1));
	check(strcmp(got() + 24, " WARN tunnel_retry lost why=\"a b\" n=1") == 0);
	log_debug("request", "two\nlines");
	check(strcmp(got() + 24, " DEBUG request two\\u000alines") == 0);
	end();
}

static void test_levels(void)
{
	static const char *const names[] = { "debug", "info", "warn", "error" };

	for (int least = LOG_DEBUG; least <= LOG_ERROR; least++) {
		begin(true, (enum log_level)least);
		for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
			const uint64_t before = log_lines((enum log_level)level);

			log_write((enum log_level)level, "started", "x", NULL, 0);
			check(log_is_on((enum log_level)level) == (level >= least));
			check((got()[0] != '\0') == (level >= least));
			check(log_lines((enum log_level)level) - before == (level >= least));
		}
		end();
		check(log_level_read(names[least]) == (enum log_level)least);
	}
	check(log_level_read("loud") == LOG_INFO);
}

/* ---- values ---- */

static const struct {
	const char *name, *in, *want;
} values[] = {
	{ "plain", "a/b ~", "a/b ~" },
	{ "UTF-8", "ü€😀", "ü€😀" },
	{ "quotes", "\"\\", "\\\"\\\\" },
	{ "line break", "a\r\nb", "a\\u000d\\u000ab" },
	{ "escape sequence", "\x1b[31mred", "\\u001b[31mred" },
	{ "DEL and C1", "\x7f\xc2\x85", "\\u007f\\u0085" },
	{ "right to left", "\u202eabc\u2066\u200f", "\\u202eabc\\u2066\\u200f" },
	{ "line separator", "\u2028", "\\u2028" },
	{ "no UTF-8", "\xff\xc3(\xed\xa0\x80", "\\\\xff\\\\xc3(\\\\xed\\\\xa0\\\\x80" },
	{ "cut UTF-8", "\xe2\x82", "\\\\xe2\\\\x82" },
	{ "forged field", "x\",\"level\":\"error", "x\\\",\\\"level\\\":\\\"error" },
};

static void test_values(void)
{
	for (size_t i = 0; i < array_len(values); i++) {
		char want[256];

		for (int json = 0; json < 2; json++) {
			begin(json, LOG_INFO);
			log_info("started", "m", L_STR("v", values[i].in));
			snprintf(want, sizeof(want), json ? ",\"v\":\"%s\"}" : " v=\"%s\"",
				 values[i].want);
			const char *text = got();
			check_row(values[i].name,
				  strlen(text) > strlen(want) &&
					  strcmp(text + strlen(text) - strlen(want), want) == 0);
			log_info("started", values[i].in); /* a message is no safer */
			check_row(values[i].name, strstr(got(), values[i].want) != NULL);
			end();
		}
	}
}

/* Whatever the sizes, a line is whole, valid JSON and below PIPE_BUF. */
static void test_bounds(void)
{
	static char big[5000];
	static const char *const fills[] = { "a", "\x01", "ü", "\"", "\xff" };

	for (size_t f = 0; f < array_len(fills); f++) {
		const size_t step = strlen(fills[f]);

		for (size_t size = 0; size + step < sizeof(big); size += 131) {
			for (size_t i = 0; i < size; i += step)
				memcpy(big + i, fills[f], step);
			const size_t n = size / step * step;
			big[n] = '\0';
			for (int where = 0; where < 4; where++) {
				begin(true, LOG_INFO);
				const struct span s = span_of(big, n);
				if (where == 0)
					log_info("started", big, L_INT("after", 1));
				else if (where == 1)
					log_info("started", "m", L_SPAN("a", s), L_INT("after", 1));
				else if (where == 2)
					log_info("started", "m", L_SPAN("a", s), L_SPAN("b", s),
						 L_SPAN("c", s));
				else
					log_info("started", big, L_SPAN("a", s), L_SPAN("b", s),
						 L_INT("c", 1));
				struct json_object *o = json_tokener_parse(got());
				check_row(fills[f], o != NULL);
				check_row(fills[f], strlen(line) + 1 < 4096 && !strchr(line, '\n'));
				if (where == 1 && n <= 600) /* what fits is there */
					check_row(fills[f], strstr(line, ",\"after\":1}") != NULL);
				json_object_put(o);
				end();
			}
		}
	}
	memset(big, 'a', sizeof(big) - 1);
	begin(true, LOG_INFO);
	log_info("started", "m", L_STR("v", big), L_INT("after", 1));
	const char *v = strstr(got(), "\"v\":\"");
	check(v && strspn(v + 5, "a") == 2048 && strcmp(v + 5 + 2048, "…\",\"after\":1}") == 0);
	end();
}

/* ---- a slow reader ---- */

/* Lines are dropped, not waited for; the first that passes again is followed by
 * their number.  The descriptor stays as it was: others may share it. */
static void test_slow_reader(void)
{
	begin(true, LOG_INFO);
	const uint64_t before = log_dropped(), lines = log_lines(LOG_INFO);
	uint64_t n = 0;
	while (log_dropped() == before && n < 100000) {
		log_info("started", "fills the pipe");
		n++;
	}
	log_info("started", "one more");
	check(log_dropped() - before == 2);
	check(log_lines(LOG_INFO) - lines == n - 1);
	check(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK));

	while (read(ends[0], line, sizeof(line)) > 0)
		continue;
	log_info("started", "again");
	const char *text = got();
	check(strstr(text, "\"msg\":\"again\"}\n{") != NULL);
	check(strstr(text,
		     "\"level\":\"warn\",\"component\":\"tunnel\",\"event\":\"log_dropped\"") !=
	      NULL);
	check(strstr(text, "\"lines\":2}") != NULL);
	log_info("started", "said once");
	check(!strstr(got(), "log_dropped"));

	close(ends[0]); /* nobody reads any more: the log does not mind */
	log_info("started", "to nobody");
	check(log_dropped() - before == 3);
	ends[0] = dup(ends[1]);
	end();
}

/* ---- the tap ---- */

static struct {
	int calls;
	enum log_level level;
	char text[512];
} tapped;

static void tap(void *user, enum log_level level, struct span text)
{
	check(user == &tapped);
	tapped.calls++;
	tapped.level = level;
	snprintf(tapped.text, sizeof(tapped.text), "%.*s", (int)text.n, (const char *)text.p);
}

static void test_tap(void)
{
	begin(true, LOG_WARN);
	log_warn("started", "and what was dropped before this test");
	got();
	log_set_tap(tap, &tapped);
	log_info("started", "below the level");
	check(tapped.calls == 0);
	log_error("stopped", "over");
	check(tapped.calls == 1 && tapped.level == LOG_ERROR && strcmp(tapped.text, got()) == 0);
	log_start(&(struct log_options){ .component = "x", .level = LOG_INFO, .fd = -1 });
	log_info("stopped", "a line that is dropped"); /* is seen as well */
	check(tapped.calls == 2);
	log_set_tap(NULL, NULL);
	end();
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "json", test_json },
		{ "text", test_text },
		{ "levels", test_levels },
		{ "values", test_values },
		{ "bounds", test_bounds },
		{ "slow reader", test_slow_reader },
		{ "tap", test_tap },
	};

	return run_cases("log", cases, array_len(cases));
}
