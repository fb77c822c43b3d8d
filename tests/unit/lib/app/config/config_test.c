#include "lib/app/config/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/app/config/config_private.h"
#include "tests/support/cases.h"
#include "tests/support/fence.h"

static struct config c; /* large: not on the stack */

static char dir[64];

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	must(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static int load(enum config_user program, const char *const *args, enum config_verb *verb,
		struct fault *why)
{
	char *argv[16] = { (char *)(uintptr_t) "program" };
	int argc = 1;

	while (*args)
		argv[argc++] = (char *)(uintptr_t)*args++;
	*why = (struct fault){ 0 };
	return config_load(&c, program, argc, argv, verb, why);
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static int load_text(const char *yaml, struct fault *why)
{
	enum config_verb verb;

	write_file("t.yaml", yaml);
	return load(CONFIG_CONTROL, ARGS("--config", "t.yaml"), &verb, why);
}

/* What a call prints on stdout. */
static char printed[64 * 1024];

static int begin_capture(int *saved)
{
	fflush(stdout);
	*saved = dup(STDOUT_FILENO);
	const int fd = memfd_create("stdout", MFD_CLOEXEC);
	must(*saved >= 0 && fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
	return fd;
}

static void end_capture(int fd, int saved)
{
	fflush(stdout);
	must(dup2(saved, STDOUT_FILENO) >= 0);
	const ssize_t n = pread(fd, printed, sizeof(printed) - 1, 0);
	must(n >= 0);
	printed[n] = '\0';
	close(fd);
	close(saved);
}

/* ---- the table ---- */

static void test_table(void)
{
	for (size_t i = 0; i < config_table.n; i++) {
		const struct config_row *a = &config_table.rows[i];

		check_row(a->path, a->users != 0 && *a->help && strchr(a->path, '.'));
		check_row(a->path, a->type != CONFIG_SECRET || !a->flag); /* it would stand in ps */
		check_row(a->path, (a->type == CONFIG_CHOICE || a->type == CONFIG_COUNT) ==
					   (a->extra != NULL));
		check_row(a->path,
			  (a->type == CONFIG_LIST || a->type == CONFIG_MAP) == (a->items != NULL));
		check_row(a->path, !a->items || (!a->flag && !a->variable && a->count_offset));
		check_row(a->path, config_row_at(&config_table, a->path) == a);
		for (size_t j = 0; j < i; j++) {
			const struct config_row *b = &config_table.rows[j];

			check_row(a->path, strcmp(a->path, b->path) != 0);
			check_row(a->path, !a->flag || !b->flag || strcmp(a->flag, b->flag) != 0);
			check_row(a->path, !a->variable || !b->variable ||
						   strcmp(a->variable, b->variable) != 0);
		}
	}
	check(!config_row_at(&config_table, "tunnel"));
}

static void test_defaults(void)
{
	struct fault why;
	enum config_verb verb = CONFIG_HELP;

	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0);
	check(verb == CONFIG_RUN && !c.file[0]);
	check(strcmp(c.api_url, "https://api.pipeops.sh") == 0 &&
	      strcmp(c.cluster_name, "default-cluster") == 0);
	check(c.timeout_ns == 30000000000 && c.inactivity_timeout_ns == 300000000000);
	check(c.tunnel_enabled && !c.tls_skip_verify && c.status_port == 8080 && !c.token.text[0]);
	check(strcmp(c.log_level, "info") == 0 && c.forwards_n == 3 && c.labels_n == 0);
	check(strcmp(c.forwards[1].name, "kubelet-metrics") == 0 && c.forwards[1].port == 10250);
	check(strcmp(c.forwards[2].local_addr, "localhost:8080") == 0 &&
	      !c.forwards[2].remote_port);
}

/* ---- the file ---- */

/* The example of the README, its comments included. */
static const char example[] =
	"# Agent configuration\n"
	"agent:\n"
	"  id: \"\"  # Auto-generated from hostname if not specified\n"
	"  name: \"pipeops-agent\"\n"
	"  cluster_name: \"production-cluster\"\n"
	"  grafana_sub_path: true  # Set to false to skip PipeOps proxy subpath configuration\n"
	"  labels:\n"
	"    environment: \"production\"\n"
	"    region: \"us-east-1\"\n"
	"\n"
	"# PipeOps control plane configuration\n"
	"pipeops:\n"
	"  api_url: \"https://api.pipeops.sh\"\n"
	"  token: \"your-cluster-token-here\"\n"
	"  timeout: \"30s\"\n"
	"  reconnect:\n"
	"    enabled: true\n"
	"    max_attempts: 10\n"
	"    interval: \"5s\"\n"
	"    backoff: \"5s\"\n"
	"  tls:\n"
	"    enabled: true\n"
	"    insecure_skip_verify: false\n"
	"\n"
	"# Tunnel configuration (optional)\n"
	"tunnel:\n"
	"  enabled: true\n"
	"  inactivity_timeout: \"5m\"\n"
	"  forwards:\n"
	"    - name: \"kubernetes-api\"\n"
	"      local_addr: \"localhost:6443\"\n"
	"      remote_port: 0  # 0 = dynamically assigned by control plane\n"
	"    - name: \"kubelet-metrics\"\n"
	"      local_addr: \"localhost:10250\"\n"
	"      remote_port: 0\n"
	"    - name: \"agent-http\"\n"
	"      local_addr: \"[::1]:8080\"\n"
	"      remote_port: 9000\n"
	"\n"
	"# Kubernetes configuration\n"
	"kubernetes:\n"
	"  in_cluster: true\n"
	"  namespace: \"pipeops-system\"\n"
	"  kubeconfig: \"\"\n"
	"\n"
	"# Logging configuration\n"
	"logging:\n"
	"  level: \"info\"\n"
	"  format: \"json\"\n"
	"  output: \"stdout\"\n";

static void test_example(void)
{
	struct fault why;

	if (!check(load_text(example, &why) == 0))
		puts(why.why);
	check(strcmp(c.cluster_name, "production-cluster") == 0);
	check(strcmp(c.token.text, "your-cluster-token-here") == 0);
	check(strcmp(c.log_output, "stdout") == 0 && strcmp(c.file, "t.yaml") == 0);
	check(c.labels_n == 2 && strcmp(c.labels[1].key, "region") == 0 &&
	      strcmp(c.labels[1].value, "us-east-1") == 0);
	check(c.forwards_n == 3 && strcmp(c.forwards[2].host, "::1") == 0 &&
	      c.forwards[2].port == 8080 && c.forwards[2].remote_port == 9000);
}

static void test_file_forms(void)
{
	static const char *const good[] = {
		"",
		"\n# only a comment\n",
		"---\n",
		"---\nagent:\n",
		"tunnel: {enabled: no}\n",
		"tunnel:\n  enabled: OFF\n",
		"agent: {labels: {}}\n",
		"agent:\n  id: 'x: y'\n",
		"\xef\xbb\xbf# byte order mark\n",
		"--- {}\n...\n",
	};
	struct fault why;

	for (size_t i = 0; i < array_len(good); i++)
		if (!check_row(good[i], load_text(good[i], &why) == 0))
			puts(why.why);
	check(load_text("tunnel:\n  forwards: []\n", &why) == 0 &&
	      c.forwards_n == 0); /* none is a wish */
	check(load_text("tunnel:\n  enabled: true\n", &why) == 0 && c.forwards_n == 3);
}

#define NAME_32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
	const char *name, *yaml, *want;
} wrong[] = {
	{ "unknown section", "agent:\n  id: x\ntunel:\n  enabled: true\n",
	  "t.yaml:3: unknown key 'tunel'; did you mean 'tunnel'?" },
	{ "unknown key", "tunnel:\n  enabeld: true\n",
	  "t.yaml:2: unknown key 'tunnel.enabeld'; did you mean 'tunnel.enabled'?" },
	{ "unknown list", "tunnel:\n  forward: []\n",
	  "t.yaml:2: unknown key 'tunnel.forward'; did you mean 'tunnel.forwards'?" },
	{ "unknown inner section", "pipeops:\n  reconect:\n    enabled: 1\n",
	  "t.yaml:2: unknown key 'pipeops.reconect'; did you mean 'pipeops.reconnect'?" },
	{ "wrong section", "agent:\n  api_url: x\n",
	  "t.yaml:2: unknown key 'agent.api_url'; did you mean 'pipeops.api_url'?" },
	{ "no section", "token: s3cret\n",
	  "t.yaml:1: unknown key 'token'; did you mean 'pipeops.token'?" },
	{ "nothing near", "frobnicate: 1\n", "t.yaml:1: unknown key 'frobnicate'" },
	{ "unprintable key", "\"\\e[31m\": 1\n", "t.yaml:1: unknown key '\\x1b[31m'" },
	{ "twice", "tunnel:\n  enabled: true\n  enabled: true\n",
	  "t.yaml:3: key 'tunnel.enabled' stands there twice" },
	{ "section twice", "agent:\n  id: x\nagent:\n  name: y\n",
	  "t.yaml:3: key 'agent' stands there twice" },
	{ "label twice", "agent:\n  labels:\n    a: 1\n    a: 2\n",
	  "t.yaml:4: key 'agent.labels.a' stands there twice" },
	{ "no flag", "tunnel:\n  enabled: maybe\n",
	  "t.yaml:2: tunnel.enabled: \"maybe\" is not true or false" },
	{ "no number", "status:\n  port: 80 80\n",
	  "t.yaml:2: status.port: \"80 80\" is not a whole number in 1..65535" },
	{ "number too large", "status:\n  port: 65536\n", "whole number in 1..65535" },
	{ "number too small", "status:\n  port: 0\n", "whole number in 1..65535" },
	{ "no duration", "pipeops:\n  timeout: soon\n",
	  "t.yaml:2: pipeops.timeout: \"soon\" is not a duration like 250ms, 30s" },
	{ "no choice", "logging:\n  level: loud\n",
	  "t.yaml:2: logging.level: \"loud\" is not one of debug|info|warn|error" },
	{ "part of a choice", "logging:\n  level: inf\n", "is not one of" },
	{ "two choices", "logging:\n  level: 'debug|info'\n", "is not one of" },
	{ "list for a value", "agent:\n  id: [a]\n", "t.yaml:2: agent.id takes one plain value" },
	{ "map for a value", "agent:\n  id: {a: b}\n", "t.yaml:2: agent.id takes one plain value" },
	{ "value for a section", "agent: x\n", "t.yaml:1: agent is a section with keys below it" },
	{ "list for a section", "agent: [x]\n", "t.yaml:1: agent is a section with keys below it" },
	{ "control character", "agent:\n  id: \"a\\nb\"\n",
	  "t.yaml:2: agent.id: too long, or has a line break" },
	{ "NUL", "agent:\n  id: \"a\\0b\"\n", "t.yaml:2: a value holds a NUL byte" },
	{ "alias", "agent:\n  id: *x\n", "t.yaml:2: aliases are not supported" },
	{ "anchor", "agent:\n  id: &x y\n", "t.yaml:2: anchors are not supported" },
	{ "anchored section", "agent: &x\n  id: y\n", "t.yaml:1: anchors are not supported" },
	{ "tag", "agent:\n  id: !!str y\n", "t.yaml:2: tags are not supported" },
	{ "merge key", "agent:\n  <<: {id: y}\n", "t.yaml:2: unknown key 'agent.<<'" },
	{ "two documents", "agent:\n  id: x\n---\nagent:\n  id: y\n",
	  "t.yaml:3: more than one document" },
	{ "no map", "- a\n", "t.yaml:1: the file is no map of keys" },
	{ "unknown key with an anchor", "a: &x [1]\nb: *x\n", "t.yaml:1: unknown key 'a'" },
	{ "unclosed list", "x: [\n", "t.yaml:" },
	{ "bytes that are no text", "\x01\x02", "t.yaml:" },
	{ "text", "hello\n", "t.yaml:1: the file is no map of keys" },
	{ "list as key", "[a]: b\n", "t.yaml:1: a key must be plain text" },
	{ "tab", "agent:\n\tid: x\n",
	  "t.yaml:2:1: a tab stands here: YAML is indented with blanks" },
	{ "unclosed", "agent:\n  id: \"x\n", "t.yaml:3:1: the file ends inside a quoted text" },
	{ "no UTF-8", "agent:\n  id: \xff\n", "t.yaml:" },
	{ "key too long", NAME_32 NAME_32 NAME_32 NAME_32 NAME_32 NAME_32 NAME_32 NAME_32 ": 1\n",
	  "t.yaml:1: key is too long" },

	{ "forwards as a map", "tunnel:\n  forwards: {a: b}\n",
	  "t.yaml:2: tunnel.forwards is a list" },
	{ "forward as a text", "tunnel:\n  forwards: [a]\n",
	  "t.yaml:2: a forward is a map of name" },
	{ "forward without a name", "tunnel:\n  forwards:\n    - local_addr: a:1\n",
	  "t.yaml:3: a forward needs name and local_addr" },
	{ "forward without an address", "tunnel:\n  forwards:\n    - name: a\n",
	  "t.yaml:3: a forward needs name and local_addr" },
	{ "forward without a port",
	  "tunnel:\n  forwards:\n    - name: a\n      local_addr: localhost\n",
	  "t.yaml:4: \"localhost\" is no address" },
	{ "forward to port 0", "tunnel:\n  forwards: [{name: a, local_addr: 'a:0'}]\n",
	  "\"a:0\" is no address" },
	{ "remote port",
	  "tunnel:\n  forwards: [{name: a, local_addr: 'a:1', remote_port: 65536}]\n",
	  "remote_port is 0 (assigned" },
	{ "remote port text",
	  "tunnel:\n  forwards: [{name: a, local_addr: 'a:1', remote_port: x}]\n",
	  "remote_port is 0 (assigned" },
	{ "key of a forward", "tunnel:\n  forwards:\n    - name: a\n      local: b\n",
	  "t.yaml:4: unknown key 'local' in a forward; known are name, local_addr" },
	{ "key of a forward twice", "tunnel:\n  forwards:\n    - name: a\n      name: b\n",
	  "t.yaml:4: a key stands there twice" },
	{ "name of a forward", "tunnel:\n  forwards: [{name: 'a b', local_addr: 'a:1'}]\n",
	  "a forward's name is letters" },
	{ "two of a name",
	  "tunnel:\n  forwards:\n    - {name: a, local_addr: 'a:1'}\n"
	  "    - {name: a, local_addr: 'b:1'}\n",
	  "t.yaml:4: two forwards are named a" },
	{ "two of a port",
	  "tunnel:\n  forwards:\n    - {name: a, local_addr: 'a:1', remote_port: 8000}\n"
	  "    - {name: b, local_addr: 'b:1', remote_port: 8001}\n"
	  "    - {remote_port: 8000, name: c, local_addr: 'b:1'}\n",
	  "t.yaml:5: forwards a and c both want remote_port 8000" },
	{ "deep", "tunnel:\n  forwards: [[[[[[[[[[[[[[[[[[[[[[a]]]]]]]]]]]]]]]]]]]]]]\n",
	  "t.yaml:2: a forward is a map" },
	{ "list of labels", "agent:\n  labels: [a]\n", "t.yaml:2: agent.labels is a map" },
	{ "nested label", "agent:\n  labels:\n    a: {b: c}\n",
	  "t.yaml:3: agent.labels takes plain text for each key" },
	{ "long label", "agent:\n  labels:\n    " NAME_32 NAME_32 ": x\n",
	  "t.yaml:3: a label's name is plain text of at most 63" },
};

static void test_wrong_files(void)
{
	for (size_t i = 0; i < array_len(wrong); i++) {
		struct fault why;

		check_row(wrong[i].name, load_text(wrong[i].yaml, &why) == ERR_CONFIG);
		if (!check_row(wrong[i].name,
			       strncmp(why.why, wrong[i].want, strlen(wrong[i].want)) == 0 ||
				       (wrong[i].want[0] != 't' && strstr(why.why, wrong[i].want))))
			puts(why.why);
		check_row(wrong[i].name, !strstr(why.why, "s3cret"));
	}
}

static void test_bounds(void)
{
	static char text[300 * 1024];
	struct fault why;
	size_t n = 0;

	memset(text, '#', 256 * 1024);
	text[256 * 1024] = '\0';
	check(load_text(text, &why) == 0);
	text[256 * 1024] = '#';
	check(load_text(text, &why) == ERR_CONFIG && strstr(why.why, "longer than 262144 bytes"));

	for (int many = 32; many <= 33; many++) {
		n = (size_t)snprintf(text, sizeof(text), "agent:\n  labels:\n");
		for (int i = 0; i < many; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, "    l%d: x\n", i);
		check((load_text(text, &why) == 0) == (many == 32));
		n = (size_t)snprintf(text, sizeof(text), "tunnel:\n  forwards:\n");
		for (int i = 0; i < many; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n,
					      "    - {name: l%d, local_addr: 'a:1'}\n", i);
		check((load_text(text, &why) == 0) == (many == 32));
		check(many == 33 || c.forwards_n == 32);
	}
	/* A secret of the largest size; one more is refused without being shown. */
	for (size_t size = CONFIG_TEXT_MAX - 1; size <= CONFIG_TEXT_MAX; size++) {
		n = (size_t)snprintf(text, sizeof(text), "pipeops:\n  token: ");
		memset(text + n, 'z', size);
		snprintf(text + n + size, 2, "\n");
		check((load_text(text, &why) == 0) == (size < CONFIG_TEXT_MAX));
		check(!strstr(why.why, "zz"));
	}
}

/* Cut anywhere, and with an unreadable page behind: an answer, never more. */
static void test_chop(void)
{
	for (size_t n = 0; n <= sizeof(example) - 1; n++) {
		struct fence f;
		struct fault why = { 0 };

		fence_init(&f, example, n);
		c.forwards_n = c.labels_n = 0;
		const int rc = config_yaml_read(&c, &config_table, CONFIG_ALL, "t.yaml",
						(const char *)f.p, n, &why);
		check(rc >= 0 ? !why.code : rc == ERR_CONFIG && why.why[0]);
		fence_fini(&f);
	}
}

/* ---- where values come from ---- */

static void test_later_wins(void)
{
	struct fault why;
	enum config_verb verb;

	write_file("t.yaml", "agent: {cluster_name: file, id: file}\nlogging: {level: warn}\n");
	setenv("PIPEOPS_CLUSTER_NAME", "environment", 1);
	setenv("PIPEOPS_LOG_LEVEL", "error", 1);
	setenv("PIPEOPS_AGENT_ID", "", 1); /* empty is unset */
	check(load(CONFIG_CONTROL, ARGS("--log-level=debug", "--config=t.yaml"), &verb, &why) == 0);
	check(strcmp(c.agent_id, "file") == 0);
	check(strcmp(c.cluster_name, "environment") == 0);
	check(strcmp(c.log_level, "debug") == 0);
	setenv("PIPEOPS_LOG_LEVEL", "loud", 1);
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == ERR_CONFIG);
	check(strcmp(why.why, "PIPEOPS_LOG_LEVEL: \"loud\" is not one of debug|info|warn|error") ==
	      0);
	unsetenv("PIPEOPS_LOG_LEVEL");
	unsetenv("PIPEOPS_CLUSTER_NAME");
	unsetenv("PIPEOPS_AGENT_ID");

	/* A variable of another program's is not looked at. */
	setenv("PIPEOPS_PORT", "tcp://10.0.0.1:80", 1);
	check(load(CONFIG_TUNNEL, ARGS(), &verb, &why) == 0);
	check(load(CONFIG_STATUS, ARGS(), &verb, &why) == ERR_CONFIG);
	check(strncmp(why.why, "PIPEOPS_PORT: ", 14) == 0);
	unsetenv("PIPEOPS_PORT");
}

static void test_search_order(void)
{
	struct fault why;
	enum config_verb verb;
	char path[128];

	snprintf(path, sizeof(path), "%s/.pipeops-agent.yaml", dir);
	write_file(path, "agent: {id: home}\n");
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0 && strcmp(c.agent_id, "home") == 0);
	check(strcmp(c.file, path) == 0);
	write_file("config.yaml", "agent: {id: here}\n");
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0 && strcmp(c.agent_id, "here") == 0);
	write_file("env.yaml", "agent: {id: env}\n");
	setenv("PIPEOPS_CONFIG", "env.yaml", 1);
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0 && strcmp(c.agent_id, "env") == 0);
	write_file("flag.yaml", "agent: {id: flag}\n");
	check(load(CONFIG_CONTROL, ARGS("--config", "flag.yaml"), &verb, &why) == 0 &&
	      strcmp(c.agent_id, "flag") == 0);

	/* One that was named must be there; the help must not need it. */
	setenv("PIPEOPS_CONFIG", "missing.yaml", 1);
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == ERR_CONFIG);
	check(strcmp(why.why, "configuration file missing.yaml: No such file or directory") == 0);
	check(load(CONFIG_CONTROL, ARGS("--help"), &verb, &why) == 0 && verb == CONFIG_HELP);
	unsetenv("PIPEOPS_CONFIG");
	check(load(CONFIG_CONTROL, ARGS("--config", "."), &verb, &why) == ERR_CONFIG);
	check(strstr(why.why, "no regular file") != NULL);
	must(mkfifo("fifo", 0600) == 0);
	check(load(CONFIG_CONTROL, ARGS("--config", "fifo"), &verb, &why) == ERR_CONFIG);
	must(unlink("fifo") == 0);
	check(load(CONFIG_CONTROL, ARGS("--config=\x1b[31m"), &verb, &why) == ERR_CONFIG);
	check(strstr(why.why, "file \\x1b[31m: No such file") != NULL);
	must(unlink("config.yaml") == 0 && unlink(path) == 0);
}

/* ---- how values arrive ---- */

#define BOM "\xef\xbb\xbf"

/* Whatever the way: file, variable. */
static void test_white_space_around_values(void)
{
	static const struct {
		const char *name, *yaml;
	} rows[] = {
		{ "plain", "pipeops: {token: tok-1}\n" },
		{ "block", "pipeops:\n  token: |\n    tok-1\n" },
		{ "folded, kept lines", "pipeops:\n  token: >+\n    tok-1\n\n\n" },
		{ "newline", "pipeops: {token: \"tok-1\\n\"}\n" },
		{ "CR LF", "pipeops: {token: \"tok-1\\r\\n\"}\n" },
		{ "leading blank", "pipeops: {token: ' tok-1'}\n" },
		{ "byte order mark", "pipeops: {token: \"\\uFEFFtok-1\"}\n" },
	};
	static const char *const texts[] = { "tok-1\n",		  "tok-1\r\n", " tok-1",
					     "\ttok-1 ",	  "\ntok-1",   BOM "tok-1\n",
					     BOM " tok-1\r\n\r\n" };
	static const char *const variables[] = { "PIPEOPS_TOKEN", "PIPEOPS_CLUSTER_NAME",
						 "PIPEOPS_API_URL" };
	struct fault why;
	enum config_verb verb;

	for (size_t i = 0; i < array_len(rows); i++) {
		check_row(rows[i].name, load_text(rows[i].yaml, &why) == 0);
		check_row(rows[i].name, strcmp(c.token.text, "tok-1") == 0);
	}
	for (size_t i = 0; i < array_len(texts); i++)
		for (size_t v = 0; v < array_len(variables); v++) {
			setenv(variables[v], texts[i], 1);
			check_row(texts[i], load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0);
			const char *got = v == 0   ? c.token.text
					  : v == 1 ? c.cluster_name
						   : c.api_url;
			check_row(texts[i], strcmp(got, "tok-1") == 0);
			unsetenv(variables[v]);
		}
	setenv("PIPEOPS_TUNNEL_ENABLED", "false\n", 1);
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0 && !c.tunnel_enabled);
	setenv("PIPEOPS_TUNNEL_ENABLED", " \n", 1); /* blank is unset */
	check(load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0 && c.tunnel_enabled);
	unsetenv("PIPEOPS_TUNNEL_ENABLED");
}

/* Each is told, wherever it stands, and never shown where it is a secret. */
static void test_left_overs(void)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "<no value>", "\"<no value>\" is what a template leaves" },
		{ "https://<no value>/", "\"<no value>\" is what a template leaves" },
		{ "$(TOKEN_s3cret)", "$(...) was not expanded" },
		{ "https://$(HOST.s3cret-x)/y", "$(...) was not expanded" },
		{ "\"s3cret\"", "has quotes around it" },
		{ "'s3cret'\n", "has quotes around it" },
	};
	static const char *const taken[] = { "$()", "$(a b)", "a$(",	  "\"",
					     "\"a", "it's",   "<novalue>" };
	char yaml[256];
	struct fault why;
	enum config_verb verb;

	for (size_t i = 0; i < array_len(rows); i++) {
		for (size_t r = 0; r < config_table.n; r++) {
			const struct config_row *row = &config_table.rows[r];

			if (!row->variable)
				continue;
			setenv(row->variable, rows[i].text, 1);
			check_row(row->path, load((enum config_user)row->users, ARGS(), &verb,
						  &why) == ERR_CONFIG);
			check_row(row->path,
				  strncmp(why.why, row->variable, strlen(row->variable)) == 0);
			if (!check_row(row->path, strstr(why.why, rows[i].want) != NULL))
				puts(why.why);
			check_row(row->path, !strstr(why.why, "s3cret"));
			unsetenv(row->variable);
		}
		static const char *const places[] = {
			"agent: {id: X}",
			"pipeops: {token: X}",
			"agent: {labels: {a: X}}",
			"pipeops: {timeout: X}",
			"tunnel: {forwards: [{name: X, local_addr: 'a:1'}]}",
			"tunnel: {forwards: [{name: a, local_addr: X}]}"
		};
		for (size_t k = 0; k < array_len(places); k++) {
			size_t n = 0;

			for (const char *at = places[k]; *at; at++) {
				if (*at != 'X') {
					yaml[n++] = *at;
					continue;
				}
				yaml[n++] = '"';
				for (const char *x = rows[i].text; *x; x++) {
					if (*x == '"')
						yaml[n++] = '\\';
					if (*x != '\n')
						yaml[n++] = *x;
				}
				yaml[n++] = '"';
			}
			yaml[n] = '\0';
			check_row(places[k], load_text(yaml, &why) == ERR_CONFIG);
			if (!check_row(places[k], strstr(why.why, rows[i].want) != NULL))
				puts(why.why);
		}
	}
	for (size_t i = 0; i < array_len(taken); i++) {
		setenv("PIPEOPS_CLUSTER_NAME", taken[i], 1);
		check_row(taken[i], load(CONFIG_CONTROL, ARGS(), &verb, &why) == 0);
		unsetenv("PIPEOPS_CLUSTER_NAME");
	}
}

/* What a chart leaves out: every key x each way to write nothing. */
static void test_null_is_absent(void)
{
	static const char *const nothing[] = { "", "~", "null", "Null", "NULL", "# a comment" };
	static struct config defaults;
	char yaml[256];
	struct fault why;

	check(load_text("", &why) == 0);
	defaults = c;
	for (size_t r = 0; r < config_table.n; r++)
		for (size_t i = 0; i < array_len(nothing) + 1; i++) {
			const struct config_row *row = &config_table.rows[r];
			const bool is_quoted = i == array_len(nothing);
			size_t n = 0, depth = 0;

			/* In quotes it is an empty text: of use to one type only. */
			if (is_quoted && (row->items || row->type == CONFIG_TEXT_OR_NONE))
				continue;
			for (const char *at = row->path; at; depth++) {
				const size_t part = strcspn(at, ".");

				n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, "%*s%.*s:%s",
						      (int)depth * 2, "", (int)part, at,
						      at[part] ? "\n" : " ");
				at = at[part] ? at + part + 1 : NULL;
			}
			snprintf(yaml + n, sizeof(yaml) - n, "%s\n",
				 is_quoted ? "\"\"" : nothing[i]);
			if (!check_row(yaml, load_text(yaml, &why) == 0))
				puts(why.why);
			check_row(yaml, memcmp(&c, &defaults, sizeof(c)) == 0);
		}
	/* Within lists and maps, and for sections and the file. */
	check(load_text("agent: {labels: {a: null, b: x, c: }}\ntunnel: ~\npipeops:\n", &why) == 0);
	check(c.labels_n == 1 && strcmp(c.labels[0].key, "b") == 0);
	check(load_text(
		      "tunnel: {forwards: [~, {name: a, local_addr: 'a:1', remote_port: null}]}\n",
		      &why) == 0);
	check(c.forwards_n == 1 && !c.forwards[0].remote_port);
	check(load_text("tunnel: {forwards: [{name: a, local_addr: null}]}\n", &why) ==
		      ERR_CONFIG &&
	      strstr(why.why, "a forward needs name and local_addr"));
	check(load_text("null\n", &why) == 0 && load_text("~", &why) == 0);
	/* In quotes they are texts. */
	check(load_text("agent: {id: 'null', cluster_name: \"~\"}\n", &why) == 0);
	check(strcmp(c.agent_id, "null") == 0 && strcmp(c.cluster_name, "~") == 0);
	check(load_text("tunnel: {server_ports: ''}\n", &why) == 0);
}

/* A password or a query in a URL is refused by whatever way, and shown nowhere. */
static void test_urls_without_secrets(void)
{
	static const char *const urls[] = {
		"https://admin:s3cret@host",  "https://s3cret@host/x", "//u:s3cret@host",
		"https://host/?token=s3cret", "https://host#s3cret",   "https://host?s3cret",
		"http:/u:s3cret@host",	      "u:s3cret@host:1",       "ftp://u:s3cret@[::1",
	};
	char text[512];
	struct fault why;
	enum config_verb verb;

	for (size_t r = 0; r < config_table.n; r++) {
		const struct config_row *row = &config_table.rows[r];

		if (row->type != CONFIG_URL)
			continue;
		for (size_t i = 0; i < array_len(urls); i++) {
			const char *dot = strchr(row->path, '.');

			setenv(row->variable, urls[i], 1);
			check_row(urls[i], load((enum config_user)row->users, ARGS(), &verb,
						&why) == ERR_CONFIG);
			check_row(urls[i],
				  !strstr(why.why, "s3cret") && strstr(why.why, row->variable));
			unsetenv(row->variable);
			snprintf(text, sizeof(text), "--%s=%s", row->flag, urls[i]);
			check_row(urls[i], load((enum config_user)row->users, ARGS(text), &verb,
						&why) == ERR_USAGE);
			check_row(urls[i], !strstr(why.why, "s3cret"));
			snprintf(text, sizeof(text), "%.*s: {%s: '%s'}\n", (int)(dot - row->path),
				 row->path, dot + 1, urls[i]);
			for (enum config_user p = CONFIG_TUNNEL; p <= CONFIG_STATUS; p <<= 1) {
				write_file("t.yaml", text);
				check_row(urls[i], load(p, ARGS("--config", "t.yaml"), &verb,
							&why) == ERR_CONFIG);
				check_row(urls[i], !strstr(why.why, "s3cret"));
			}
		}
	}
}

/* ---- lists and maps of a table that is not the product's ---- */

struct config_word {
	char text[16];
};

struct config_image {
	char name[16], image[32];
};

static int read_word(void *entry, const char *text, struct fault *why)
{
	struct config_word *w = entry;

	if (!*text || strlen(text) >= sizeof(w->text))
		return fault_set(why, ERR_CONFIG, "a word is at most 15 letters");
	snprintf(w->text, sizeof(w->text), "%s", text);
	return 0;
}

static int read_image_name(void *entry, const char *text, struct fault *why)
{
	return read_word(entry, text, why); /* as long */
}

static int read_image(void *entry, const char *text, struct fault *why)
{
	struct config_image *m = entry;

	if (strlen(text) >= sizeof(m->image))
		return fault_set(why, ERR_CONFIG, "an image is at most 31 letters");
	snprintf(m->image, sizeof(m->image), "%s", text);
	return 0;
}

static const struct config_key word_keys[] = { { NULL, true, read_word, 0, false } };
static const struct config_key image_keys[] = {
	{ "name", true, read_image_name, 0, false },
	{ "image", true, read_image, offsetof(struct config_image, image), false },
};
static const struct config_items words = { "word", sizeof(struct config_word), word_keys, 1, NULL,
					   NULL };
static const struct config_items images = { "image", sizeof(struct config_image), image_keys, 2,
					    NULL, NULL };

struct table_values {
	struct config_word components[CONFIG_LIST_MAX];
	size_t components_n;
	struct config_image images[CONFIG_LIST_MAX];
	size_t images_n;
	char name[CONFIG_TEXT_MAX];
};

static void test_a_table_of_lists(void)
{
	static const struct config_row rows[] = {
		{ .type = CONFIG_LIST,
		  .users = CONFIG_CONTROL,
		  .path = "monitoring.components",
		  .offset = offsetof(struct table_values, components),
		  .items = &words,
		  .count_offset = offsetof(struct table_values, components_n) },
		{ .type = CONFIG_MAP,
		  .users = CONFIG_TUNNEL,
		  .path = "images",
		  .offset = offsetof(struct table_values, images),
		  .items = &images,
		  .count_offset = offsetof(struct table_values, images_n) },
		{ .type = CONFIG_TEXT,
		  .users = CONFIG_ALL,
		  .path = "monitoring.name",
		  .offset = offsetof(struct table_values, name) },
	};
	static const struct config_table table = { rows, array_len(rows) };
	static const struct {
		const char *name, *yaml, *want; /* NULL: taken */
		size_t components, images;
	} cases[] = {
		{ "both", "monitoring: {components: [grafana, loki]}\nimages: {a: b:1, c: d}\n",
		  NULL, 2, 2 },
		{ "block", "monitoring:\n  name: x\n  components:\n    - a\n    - b\n    - c\n",
		  NULL, 3, 0 },
		{ "a dot in a name", "images: {a.b: c}\n", NULL, 0, 1 },
		{ "none", "monitoring: {components: []}\nimages: {}\n", NULL, 0, 0 },
		{ "null", "monitoring: {components: }\nimages: ~\n", NULL, 0, 0 },
		{ "map in a list", "monitoring: {components: [{a: b}]}\n",
		  "t.yaml:1: a word is a plain value", 0, 0 },
		{ "list in a list", "monitoring: {components: [[a]]}\n",
		  "t.yaml:1: a word is a plain value", 0, 0 },
		{ "text for a list", "monitoring: {components: a}\n",
		  "t.yaml:1: monitoring.components is a list; each entry starts with '- '", 0, 0 },
		{ "list for a map", "images: [a]\n", "t.yaml:1: images is a map of plain values", 0,
		  0 },
		{ "map in a map", "images: {a: {b: c}}\n",
		  "t.yaml:1: images takes plain text for each key", 0, 0 },
		{ "twice in a list", "monitoring: {components: [a, b, a]}\n",
		  "t.yaml:1: two words are named a", 0, 0 },
		{ "twice in a map", "images:\n  a: b\n  a: c\n",
		  "t.yaml:3: key 'images.a' stands there twice", 0, 0 },
		{ "an entry's own rule", "monitoring: {components: [0123456789abcdef]}\n",
		  "t.yaml:1: a word is at most 15 letters", 0, 0 },
		{ "a value's own rule", "images: {a: 0123456789abcdef0123456789abcdef}\n",
		  "t.yaml:1: an image is at most 31 letters", 0, 0 },
		{ "unknown", "monitoring: {component: [a]}\n",
		  "t.yaml:1: unknown key 'monitoring.component'; did you mean "
		  "'monitoring.components'?",
		  0, 0 },
		{ "the product's", "tunnel: {enabled: true}\n", "t.yaml:1: unknown key 'tunnel'", 0,
		  0 },
	};
	static struct table_values v;

	for (size_t i = 0; i < array_len(cases); i++)
		for (enum config_user p = CONFIG_TUNNEL; p <= CONFIG_ALL; p++) {
			struct fault why = { 0 };

			memset(&v, 0, sizeof(v));
			const int rc = config_yaml_read(&v, &table, p, "t.yaml", cases[i].yaml,
							strlen(cases[i].yaml), &why);
			check_row(cases[i].name, rc == (cases[i].want ? ERR_CONFIG : 0));
			if (!check_row(cases[i].name, strcmp(why.why, cases[i].want ?: "") == 0))
				puts(why.why);
			/* Each program has its own lists, whole or not at all. */
			check_row(cases[i].name,
				  v.components_n ==
						  (p & CONFIG_CONTROL ? cases[i].components : 0) &&
					  v.images_n == (p & CONFIG_TUNNEL ? cases[i].images : 0));
			check_row(cases[i].name, v.images_n || !v.images[0].name[0]);
		}
	check(v.components_n == 0);
}

/* ---- what the YAML library complains of ---- */

static void test_words_for_broken_yaml(void)
{
	static const struct {
		const char *yaml, *want;
	} rows[] = {
		{ "agent:\n\tid: x\n", "t.yaml:2:1: a tab stands here" },
		{ "agent:\n  id: x\n\tname: y\n", "t.yaml:3:1: a tab stands here" },
		{ "agent:\n  \tid: x\n", "t.yaml:2:3: a tab stands here" },
		{ "agent: \xc3\xbc\xc3\xbc @\n\t- x\n", "t.yaml:2:1: a tab stands here" },
		{ "agent:\n  id: |\n\tx\n", "t.yaml:3:1: a tab stands here" },
		{ "agent:\n  id: @x\n", "t.yaml:2:7: a value can't begin with this character" },
		{ "agent:\n  id: `x`\n", "t.yaml:2:7: a value can't begin with this character" },
		{ "agent:\n  id: %x\n", "t.yaml:2:7: a value can't begin with this character" },
		{ "agent:\n  id: 'x\n", "t.yaml:3:1: the file ends inside a quoted text" },
		{ "agent:\n  id: 'x\n--- y\n", "inside a quoted text" },
		{ "agent:\n  id: x\n  foo\n  name: y\n", "t.yaml:4:3: a key without a \":\"" },
		{ "agent:\n  id: x: y\n", "t.yaml:2:8: a \":\" where none may be" },
		{ "agent:\n  id: x\n name: y\n", "t.yaml:3:2: the indentation fits no key" },
		{ "tunnel: {forwards: [{name: a, local_addr: 'a:1'}\n", "\"]\" is missing" },
		{ "agent: {id: b\n", "\"}\" is missing" },
		{ "agent: - a\n", "t.yaml:1:8: a \"- \" where no list may begin" },
		{ "agent: \"\\q\"\n", "an unknown escape" },
		{ "agent: \"\\xzz\"\n", "an escape lacks its hexadecimal digits" },
		{ "agent: \"\\uD800\"\n", "an escape that is no character" },
		{ "agent:\n  id: & x\n", "without a name" },
		{ "agent: !<x y\n", "tags are not supported" },
		{ "%FOO 1\n---\n", "" },
		{ "%YAML 3.0\n---\nagent: {}\n", "a YAML version" },
		{ "agent:\n  id: \x01x\n", "t.yaml:2:7: a control character stands here" },
		{ "agent:\n  id: \xff\n", "t.yaml:2:7: a byte that is no UTF-8" },
		{ "agent:\n  id: \xc3", "the file ends inside a character" },
		{ "agent:\n  id: |0\n  x\n", "an indentation of 0" },
		{ "agent:\n  id: | x\n", "text behind \"|\" or \">\"" },
	};
	static const char *const theirs[] = { "token",	  "indicator",	  "node",	   "octet",
					      "scanning", "did not find", "could not find" };

	for (size_t i = 0; i < array_len(rows); i++) {
		struct fault why;

		check_row(rows[i].yaml, load_text(rows[i].yaml, &why) == ERR_CONFIG);
		if (!check_row(rows[i].yaml, strstr(why.why, rows[i].want) != NULL))
			puts(why.why);
		for (size_t k = 0; k < array_len(theirs); k++)
			check_row(rows[i].yaml, !strstr(why.why, theirs[k]));
	}
}

/* ---- secrets of other programs ---- */

enum { CANARY = 24, MASK = 0x5a };

/* Masked: the test's own copy must not be what the search finds. */
static char canary[CANARY];

static void make_canary(size_t seed)
{
	for (size_t i = 0; i < CANARY; i++)
		canary[i] = (char)(('a' + (i * 7 + seed * 5 + (size_t)getpid()) % 26) ^ MASK);
}

static void put_canary(char *to)
{
	for (size_t i = 0; i < CANARY; i++)
		((volatile char *)to)[i] = (char)(canary[i] ^ MASK);
}

static size_t count_canaries(const char *p, size_t n)
{
	size_t found = 0;

	for (size_t i = 0; i + CANARY <= n; i++) {
		size_t at = 0;
		while (at < CANARY && p[i + at] == (char)(canary[at] ^ MASK))
			at++;
		found += at == CANARY;
	}
	return found;
}

/* In every writable page of this process; a sanitizer's shadow is left out. */
static size_t count_in_memory(void)
{
	static char piece[1 << 16], line[512];
	const int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	FILE *maps = fopen("/proc/self/maps", "re");
	size_t found = 0;

	must(mem >= 0 && maps);
	while (fgets(line, sizeof(line), maps)) {
		char *end, *mode;
		const uint64_t from = strtoull(line, &end, 16);
		const uint64_t to = strtoull(end + 1, &mode, 16);

		if (strncmp(mode, " rw", 3) != 0 || to - from > (256u << 20))
			continue;
		for (uint64_t at = from; at < to;) {
			/* what lies behind is the next line's, and would count twice */
			const ssize_t n =
				pread(mem, piece, min_size(sizeof(piece), to - at), (off_t)at);
			if (n <= 0)
				break;
			found += count_canaries(piece, (size_t)n);
			memset(piece, 0, sizeof(piece));
			at += (uint64_t)n > CANARY
				      ? (uint64_t)n - (at + (uint64_t)n < to ? CANARY : 0)
				      : (uint64_t)n;
		}
	}
	fclose(maps);
	close(mem);
	return found;
}

/* section: a: b: CANARY, as a file or in the environment. */
static void plant(const struct config_row *row, bool in_file)
{
	char text[256] = { 0 };
	size_t n = 0, depth = 0;

	if (!in_file) {
		/* putenv(), not setenv(): the C library keeps what setenv() copied. */
		static char variable[128];
		n = (size_t)snprintf(variable, sizeof(variable) - CANARY, "%s=", row->variable);
		put_canary(variable + n);
		variable[n + CANARY] = '\0';
		must(putenv(variable) == 0);
		return;
	}
	for (const char *at = row->path; at; depth++) {
		const size_t part = strcspn(at, ".");

		n += (size_t)snprintf(text + n, sizeof(text) - n, "%*s%.*s:%s", (int)depth * 2, "",
				      (int)part, at, at[part] ? "\n" : " ");
		at = at[part] ? at + part + 1 : NULL;
	}
	put_canary(text + n);
	const int fd = open("t.yaml", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, text, n + CANARY) == (ssize_t)(n + CANARY) && close(fd) == 0);
	explicit_bzero(text, sizeof(text));
}

/* Every secret row x every program x both ways in. */
static void test_other_programs_secrets(void)
{
	static const enum config_user programs[] = { CONFIG_TUNNEL, CONFIG_CONTROL, CONFIG_STATUS };
	static const struct secret zeros;
	size_t looked = 0;

	for (size_t i = 0; i < 2 * config_table.n; i++) {
		const struct config_row *row = &config_table.rows[i / 2];
		const bool in_file = i % 2;

		if (row->type != CONFIG_SECRET)
			continue;
		for (size_t p = 0; p < array_len(programs); p++) {
			const bool is_owner = row->users & programs[p];
			const char *at = (const char *)&c + row->offset;
			enum config_verb verb;
			struct fault why;

			make_canary(i * 3 + p);
			write_file("t.yaml", "");
			plant(row, in_file);
			check_row(row->path,
				  load(programs[p], ARGS("--config", "t.yaml"), &verb, &why) == 0);
			const size_t kept = count_canaries((const char *)&c, sizeof(c));
			check_row(row->path, kept == is_owner);
			check_row(row->path, is_owner == (count_canaries(at, CANARY) == 1));
			check_row(row->path, is_owner || memcmp(at, &zeros, sizeof(zeros)) == 0);
			check_row(row->path, count_in_memory() == is_owner);
			memset(&c, 0, sizeof(c));
			looked++;
		}
	}
	check(looked >= 6);
}

/* A foreign row is checked all the same, and its text is not shown. */
static void test_other_programs_rows_are_checked(void)
{
	struct fault why;
	enum config_verb verb;

	write_file("t.yaml", "status: {port: 99999}\n");
	check(load(CONFIG_TUNNEL, ARGS("--config", "t.yaml"), &verb, &why) == ERR_CONFIG);
	check(strstr(why.why, "whole number in 1..65535") != NULL);
	write_file("t.yaml", "pipeops: {token: \"s3c\\nret\"}\n");
	check(load(CONFIG_STATUS, ARGS("--config", "t.yaml"), &verb, &why) == ERR_CONFIG);
	check(!strstr(why.why, "s3c"));
	write_file("t.yaml", "status: {port: 81}\nagent: {id: x}\n");
	check(load(CONFIG_TUNNEL, ARGS("--config", "t.yaml"), &verb, &why) == 0);
	check(c.status_port == 8080 && !c.agent_id[0]);
}

/* ---- the command line ---- */

static void test_arguments(void)
{
	static const struct {
		const char *args[4];
		enum config_user program;
		int rc;
		enum config_verb verb;
		const char *want;
	} rows[] = {
		{ { "-h" }, CONFIG_TUNNEL, 0, CONFIG_HELP, "" },
		{ { "--help" }, CONFIG_TUNNEL, 0, CONFIG_HELP, "" },
		{ { "--version" }, CONFIG_TUNNEL, 0, CONFIG_VERSION, "" },
		{ { "--check-config" }, CONFIG_TUNNEL, 0, CONFIG_CHECK, "" },
		{ { "--probe", "live" }, CONFIG_TUNNEL, 0, CONFIG_PROBE_LIVE, "" },
		{ { "--probe=ready" }, CONFIG_STATUS, 0, CONFIG_PROBE_READY, "" },
		{ { "--port", "81", "--bind=::1" }, CONFIG_STATUS, 0, CONFIG_RUN, "" },
		{ { "--allow-plain", "--allow-plain=no" }, CONFIG_TUNNEL, 0, CONFIG_RUN, "" },
		{ { "--help=x" }, CONFIG_TUNNEL, ERR_USAGE, CONFIG_RUN, "--help takes no value" },
		{ { "--probe", "maybe" },
		  CONFIG_TUNNEL,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "--probe takes live or ready" },
		{ { "--probe" }, CONFIG_TUNNEL, ERR_USAGE, CONFIG_RUN, "--probe needs a value" },
		{ { "--config" }, CONFIG_TUNNEL, ERR_USAGE, CONFIG_RUN, "--config needs a value" },
		{ { "--port" }, CONFIG_STATUS, ERR_USAGE, CONFIG_RUN, "--port needs a value" },
		{ { "--port=" },
		  CONFIG_STATUS,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "--port: \"\" is not a whole number in 1..65535" },
		{ { "--prot", "81" },
		  CONFIG_STATUS,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "unknown flag --prot; did you mean --port?" },
		{ { "--confg=x" },
		  CONFIG_STATUS,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "unknown flag --confg; did you mean --config?" },
		{ { "--frobnicate" },
		  CONFIG_STATUS,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "unknown flag --frobnicate; --help lists them" },
		{ { "--bind", "::" },
		  CONFIG_TUNNEL,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "--bind is not for this program, but for status-server" },
		{ { "--ca-file", "x" },
		  CONFIG_STATUS,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "--ca-file is not for this program, but for tunnel-sidecar, control-agent" },
		{ { "--token=s3cret" },
		  CONFIG_CONTROL,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "--token is no flag, as everybody sees a command line: use the variable "
		  "PIPEOPS_TOKEN" },
		{ { "up\x1b[31m" },
		  CONFIG_STATUS,
		  ERR_USAGE,
		  CONFIG_RUN,
		  "unexpected argument \"up\\x1b[31m\"" },
		{ { "--" }, CONFIG_STATUS, ERR_USAGE, CONFIG_RUN, "unknown flag --; " },
		{ { "-x" }, CONFIG_STATUS, ERR_USAGE, CONFIG_RUN, "unexpected argument \"-x\"" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		enum config_verb verb;
		struct fault why;
		const char *args[5] = { rows[i].args[0], rows[i].args[1], rows[i].args[2],
					rows[i].args[3] };

		const int rc = load(rows[i].program, args, &verb, &why);
		check_row(args[0], rc == rows[i].rc);
		check_row(args[0], rc < 0 || verb == rows[i].verb);
		if (!check_row(args[0], strncmp(why.why, rows[i].want, strlen(rows[i].want)) == 0))
			puts(why.why);
		check_row(args[0], !strstr(why.why, "s3cret"));
	}
	enum config_verb verb;
	struct fault why;
	check(load(CONFIG_STATUS, ARGS("--port", "81", "--bind=::1", "--port=82"), &verb, &why) ==
	      0);
	check(c.status_port == 82 && strcmp(c.status_bind, "::1") == 0);
	check(load(CONFIG_TUNNEL, ARGS("--allow-plain"), &verb, &why) == 0 && c.allow_plain);
	check(load(CONFIG_TUNNEL, ARGS("--allow-plain=off"), &verb, &why) == 0 && !c.allow_plain);
}

/* ---- values ---- */

static void test_durations(void)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "0", 0 },
		{ "30", 30000000000 },
		{ "250ms", 250000000 },
		{ "5s", 5000000000 },
		{ "5m", 300000000000 },
		{ "1h30m", 5400000000000 },
		{ "1us", 1000 },
		{ "7ns", 7 },
		{ "1m1s1ms1us1ns", 61001001001 },
		{ "0s", 0 },
		{ "1000h", 3600000000000000 },
		{ "1.5s", 1500000000 },
		{ ".5m", 30000000000 },
		{ "2m0.5s", 120500000000 },
		{ "5.s", 5000000000 },
		{ "1.25h", 4500000000000 },
		{ "0.000000001s", 1 },
		{ "0.5ns", 0 },
		{ "1.1234567891234567s", 1123456789 },
		{ "1\xc2\xb5s", 1000 },
		{ "2\xce\xbcs", 2000 },
		{ "1h0.5ms", 3600000500000 },
	};
	static const char *const bad[] = { "",
					   " ",
					   "s",
					   "-1s",
					   "1.5",
					   "5 s",
					   "5x",
					   "1h30",
					   ".",
					   ".s",
					   "5.",
					   "1.s.",
					   "1..5s",
					   "1.5.5s",
					   "+5s",
					   "1,5s",
					   "0.s5",
					   "1000.5h",
					   "\xc2s",
					   "5ss",
					   "5S",
					   "1001h",
					   "99999999999999999999s",
					   "5s ",
					   "5msm",
					   "1000h1s",
					   "3600001" };

	for (size_t i = 0; i < array_len(good); i++) {
		uint64_t ns = 99;

		check_row(good[i].text, config_duration(good[i].text, &ns, NULL) == 0);
		check_row(good[i].text, ns == good[i].ns);
	}
	for (size_t i = 0; i < array_len(bad); i++) {
		struct fault why = { 0 };
		uint64_t ns = 99;

		check_row(bad[i], config_duration(bad[i], &ns, &why) == ERR_USAGE);
		check_row(bad[i], ns == 99 && strstr(why.why, "is no duration: write 250ms, 30s"));
	}
}

static void test_addresses(void)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} good[] = {
		{ "localhost:6443", "localhost", 6443 },
		{ "10.0.0.1:1", "10.0.0.1", 1 },
		{ "[::1]:65535", "::1", 65535 },
		{ "[fe80::1%eth0]:80", "fe80::1%eth0", 80 },
		{ "a_b.svc.cluster.local:443", "a_b.svc.cluster.local", 443 },
	};
	static const char *const bad[] = { "",
					   ":",
					   ":80",
					   "localhost",
					   "localhost:",
					   "localhost:0",
					   "localhost:65536",
					   "localhost:8o",
					   "::1:80",
					   "[]:80",
					   "[::1]",
					   "[::1]80",
					   "a b:80",
					   "a/b:80",
					   "http://a:80",
					   "[::1:80",
					   "a:-1",
					   "a: 1" };

	for (size_t i = 0; i < array_len(good); i++) {
		char host[256];
		uint16_t port;

		check_row(good[i].text, config_address(good[i].text, host, &port, NULL) == 0);
		check_row(good[i].text, strcmp(host, good[i].host) == 0 && port == good[i].port);
	}
	for (size_t i = 0; i < array_len(bad); i++) {
		struct fault why = { 0 };
		char host[256];
		uint16_t port;

		check_row(bad[i], config_address(bad[i], host, &port, &why) == ERR_CONFIG);
		check_row(bad[i], strstr(why.why, "write host:port") != NULL);
	}
}

static void test_forward_names(void)
{
	struct fault why;

	check(load_text("tunnel: {forwards: [{name: kubelet, local_addr: 'a:1'}, "
			"{name: kubernetes-api, local_addr: 'a:2'}]}\n",
			&why) == 0);
	check(config_forward_find(&c, "kubernetes-api") == 1 &&
	      config_forward_find(&c, "k8s-api") == 1);
	check(config_forward_find(&c, "kubelet") == 0 &&
	      config_forward_find(&c, "kubelet-metrics") == 0);
	check(config_forward_find(&c, "agent-http") == -1 && config_forward_find(&c, "") == -1);
	/* The exact name wins over its other name. */
	check(load_text("tunnel: {forwards: [{name: k8s-api, local_addr: 'a:1'}, "
			"{name: kubernetes-api, local_addr: 'a:2'}]}\n",
			&why) == 0);
	check(config_forward_find(&c, "kubernetes-api") == 1 &&
	      config_forward_find(&c, "k8s-api") == 0);
}

/* ---- printing ---- */

static void print_to_buffer(enum config_user program)
{
	int saved;
	const int fd = begin_capture(&saved);

	config_print(&c, program);
	end_capture(fd, saved);
}

/* What is printed is a configuration file that says the same. */
static void test_print_reads_back(void)
{
	static struct config before;
	struct fault why;

	check(load_text("agent: {id: \"q\\\"b\\\\s\", labels: {\"a b\": \"x\\ty\", u: "
			"\"\\u202eü\"}}\n"
			"pipeops: {token: s3cret, timeout: 1500ms}\n"
			"tunnel: {inactivity_timeout: 0, forwards: [{name: z, local_addr: "
			"'[::1]:5', remote_port: 7}]}\n",
			&why) == 0);
	before = c;
	print_to_buffer(CONFIG_CONTROL);
	check(!strstr(printed, "s3cret") && strstr(printed, "\"(set)\""));
	check(!strchr(printed, '\t') && !strstr(printed, "\u202e") && strstr(printed, "ü"));
	if (!check(load_text(printed, &why) == 0))
		printf("%s\n%s", why.why, printed);
	memset(&before.token, 0, sizeof(before.token));
	memset(&c.token, 0, sizeof(c.token));
	check(memcmp(&before, &c, sizeof(c)) == 0);

	check(load_text("tunnel: {forwards: []}\n", &why) == 0);
	print_to_buffer(CONFIG_TUNNEL);
	check(load_text(printed, &why) == 0 && c.forwards_n == 0);
	check(!strstr(printed, "status:")); /* another program's */
}

static void test_help(void)
{
	static const enum config_user programs[] = { CONFIG_TUNNEL, CONFIG_CONTROL, CONFIG_STATUS };

	for (size_t p = 0; p < array_len(programs); p++) {
		int saved;
		const int fd = begin_capture(&saved);
		config_print_help(programs[p], "prog", "Does things.");
		end_capture(fd, saved);
		check(strncmp(printed, "Usage: prog [options]\n\nDoes things.\n", 36) == 0);
		for (size_t i = 0; i < config_table.n; i++) {
			const struct config_row *row = &config_table.rows[i];

			/* Of lists there is one line with their paths. */
			const char *shown = strstr(printed, row->items ? row->path : row->help);
			check_row(row->path, !shown == !(row->users & programs[p]));
		}
	}
}

static void test_docs(void)
{
	int saved;
	const int fd = begin_capture(&saved);

	config_print_docs();
	end_capture(fd, saved);
	for (size_t i = 0; i < config_table.n; i++) {
		char cell[128];

		snprintf(cell, sizeof(cell), "\n| `%s` |", config_table.rows[i].path);
		check_row(config_table.rows[i].path, strstr(printed, cell) != NULL);
	}
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "table", test_table },
		{ "defaults", test_defaults },
		{ "the README's example", test_example },
		{ "forms of a file", test_file_forms },
		{ "wrong files", test_wrong_files },
		{ "bounds", test_bounds },
		{ "chop and fence", test_chop },
		{ "later wins", test_later_wins },
		{ "search order", test_search_order },
		{ "white space around values", test_white_space_around_values },
		{ "what templates leave", test_left_overs },
		{ "null is absent", test_null_is_absent },
		{ "URLs without secrets", test_urls_without_secrets },
		{ "a table of lists", test_a_table_of_lists },
		{ "words for broken YAML", test_words_for_broken_yaml },
		{ "secrets of other programs", test_other_programs_secrets },
		{ "rows of other programs", test_other_programs_rows_are_checked },
		{ "arguments", test_arguments },
		{ "durations", test_durations },
		{ "addresses", test_addresses },
		{ "names of forwards", test_forward_names },
		{ "print reads back", test_print_reads_back },
		{ "help", test_help },
		{ "docs", test_docs },
	};

	snprintf(dir, sizeof(dir), "/tmp/config_test.XXXXXX");
	must(mkdtemp(dir) && chdir(dir) == 0 && setenv("HOME", dir, 1) == 0);
	for (size_t i = 0; i < config_table.n; i++)
		if (config_table.rows[i].variable)
			unsetenv(config_table.rows[i].variable);
	unsetenv("PIPEOPS_CONFIG");
	const int bad = run_cases("config", cases, array_len(cases));
	for (size_t i = 0; i < 3; i++)
		(void)!unlink((const char *[]){ "t.yaml", "env.yaml", "flag.yaml" }[i]);
	(void)!rmdir(dir);
	return bad;
}
