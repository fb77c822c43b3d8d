#include "control-agent/identity/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cases.h"
#include "tests/support/famine.h"
#include "tests/support/fence.h"

/* ---- the text ---- */

static void test_texts(void)
{
	static const struct {
		const char *name, *yaml;
		int want;
		const char *agent, *cluster, *token;
	} rows[] = {
		{ "empty", "", 0, "", "", "" },
		{ "comment only", "# nothing\n", 0, "", "", "" },
		{ "all", "agent_id: a-1\ncluster_id: \"550e8400-e29b\"\ncluster_token: 'x.y-z'\n",
		  0, "a-1", "550e8400-e29b", "x.y-z" },
		{ "flow", "{agent_id: a, cluster_id: b}", 0, "a", "b", "" },
		{ "unknown key", "agent_id: a\nother: b\n", 0, "a", "", "" },
		{ "long unknown key",
		  "agent_id_agent_id_agent_id_agent_id_agent_id_agent_id_agent_id: b\n", 0, "", "",
		  "" },
		{ "nulls", "agent_id: null\ncluster_id: ~\ncluster_token:\n", 0, "", "", "" },
		{ "a list", "- a\n", ERR_PROTO, "", "", "" },
		{ "a text", "agent\n", ERR_PROTO, "", "", "" },
		{ "nested", "agent_id:\n  x: y\n", ERR_PROTO, "", "", "" },
		{ "list value", "agent_id: [a]\n", ERR_PROTO, "", "", "" },
		{ "alias", "agent_id: &x a\ncluster_id: *x\n", ERR_PROTO, "", "", "" },
		{ "twice", "agent_id: a\nagent_id: b\n", ERR_PROTO, "", "", "" },
		{ "two documents", "agent_id: a\n---\nagent_id: b\n", ERR_PROTO, "", "", "" },
		{ "no YAML", "agent_id: \"a\n", ERR_PROTO, "", "", "" },
		{ "binary", "\x01\x02", ERR_PROTO, "", "", "" },
		{ "blank in id", "agent_id: a b\n", ERR_PROTO, "", "", "" },
		{ "slash in id", "cluster_id: ../x\n", ERR_PROTO, "", "", "" },
		{ "NUL in id", "cluster_id: \"a\\0b\"\n", ERR_PROTO, "", "", "" },
		{ "id too long",
		  "cluster_id: 1234567890123456789012345678901234567890123456789012345678901234\n",
		  ERR_LIMIT, "", "", "" },
		{ "id as long as can be",
		  "cluster_id: 123456789012345678901234567890123456789012345678901234567890123\n",
		  0, "", "123456789012345678901234567890123456789012345678901234567890123", "" },
	};

	for (size_t i = 0; i < array_len(rows); i++) {
		struct identity s = { .agent_id = "before" };
		struct fault why = { 0 };
		struct fence f;

		fence_init(&f, rows[i].yaml, strlen(rows[i].yaml));
		const int rc = identity_read(&s, span_of(f.p, f.n), &why);
		check_row(rows[i].name, rc == rows[i].want);
		if (rc < 0) {
			check_row(rows[i].name, strcmp(s.agent_id, "before") == 0);
			check_row(rows[i].name, strncmp(why.why, "line ", 5) == 0);
		} else {
			check_row(rows[i].name, strcmp(s.agent_id, rows[i].agent) == 0);
			check_row(rows[i].name, strcmp(s.cluster_id, rows[i].cluster) == 0);
			check_row(rows[i].name, strcmp(s.cluster_token, rows[i].token) == 0);
		}
		fence_fini(&f);
	}
}

static void test_error_holds_no_value(void)
{
	struct identity s;
	struct fault why = { 0 };

	check(identity_read(&s, span_str("agent_id: a\ncluster_token: \"hush hush\"\n"), &why) ==
	      ERR_PROTO);
	check(strcmp(why.why,
		     "line 2: the value of cluster_token holds characters that none has") == 0);
}

static void test_round_trip(void)
{
	const struct identity s = { .agent_id = "agent-h-1",
				    .cluster_id = "550e",
				    .cluster_token = "a\"b\\c:#'%" };
	struct identity back;
	struct buf b;

	buf_init(&b, &mem_heap, IDENTITY_FILE_MAX);
	check(identity_write(&b, &s) == 0);
	check(identity_read(&back, span_of(buf_bytes(&b).p, buf_len(&b)), NULL) == 0);
	check(memcmp(&s, &back, sizeof(s)) == 0);
	buf_fini(&b);
}

static void test_write_in_famine(void)
{
	const struct identity s = { .agent_id = "a" };

	for (size_t at = 1;; at++) {
		struct famine f;
		struct buf b;

		famine_init(&f, at);
		buf_init(&b, &f.mem, IDENTITY_FILE_MAX);
		const int rc = identity_write(&b, &s);
		buf_fini(&b);
		check(f.live == 0);
		if (f.requests < at) {
			check(rc == 0);
			break;
		}
		check(rc == ERR_NOMEM);
	}
}

/* ---- the places ---- */

struct world {
	char root[64], here[80];
	struct identity_places places;
	struct identity_store store;
	struct identity state;
};

static void world_init(struct world *w)
{
	*w = (struct world){ 0 };
	snprintf(w->root, sizeof(w->root), "/tmp/state-test-XXXXXX");
	check(mkdtemp(w->root) != NULL);
	snprintf(w->here, sizeof(w->here), "%s/here", w->root);
	check(mkdir(w->here, 0700) == 0);
	w->places = (struct identity_places){ .file = "", .root = w->root, .here = w->here };
}

/* A path in the world; mkdirs its folders when `text` is given, and writes it. */
static const char *at(const struct world *w, const char *path, const char *text)
{
	static char whole[256];

	snprintf(whole, sizeof(whole), "%s%s", w->root, path);
	if (!text)
		return whole;
	for (char *c = whole + strlen(w->root) + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		(void)mkdir(whole, 0700);
		*c = '/';
	}
	FILE *f = fopen(whole, "w");
	check(f && fputs(text, f) >= 0 && fclose(f) == 0);
	return whole;
}

static bool holds(const char *path, const char *text)
{
	char got[512] = "";
	FILE *f = fopen(path, "r");
	const size_t n = f ? fread(got, 1, sizeof(got) - 1, f) : 0;

	if (f)
		fclose(f);
	return f && span_is(span_of(got, n), text);
}

static void world_fini(struct world *w)
{
	static const char *const files[] = {
		"/here/tmp/agent-state.yaml",
		"/here/tmp/agent-state.yaml.corrupt",
		"/here/.pipeops-agent-state.yaml",
		"/here/.pipeops-cluster-id",
		"/here/.pipeops-agent-id",
		"/here/.pipeops-cluster-token",
		"/var/lib/pipeops/agent-state.yaml",
		"/var/lib/pipeops/agent-state.yaml.corrupt",
		"/var/lib/pipeops/agent-id",
		"/etc/pipeops/agent-state.yaml",
		"/etc/pipeops/cluster-id",
		"/etc/pipeops/agent-id",
		"/own.yaml",
		"/own.yaml.corrupt",
		"/own.yaml.new",
	};
	static const char *const dirs[] = { "/here/tmp",
					    "/here/.pipeops-agent-state.yaml",
					    "/here",
					    "/var/lib/pipeops",
					    "/var/lib",
					    "/var",
					    "/etc/pipeops",
					    "/etc",
					    "/own.yaml.corrupt",
					    "" };

	for (size_t i = 0; i < array_len(files); i++)
		(void)unlink(at(w, files[i], NULL));
	for (size_t i = 0; i < array_len(dirs); i++)
		(void)rmdir(at(w, dirs[i], NULL));
	check(access(w->root, F_OK) < 0);
}

static void test_first_writable_place(void)
{
	struct world w;

	world_init(&w);
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.store.path, at(&w, "/here/tmp/agent-state.yaml", NULL)) ==
	      0); /* no /var/lib there */
	check(!w.store.from[0] && !w.store.trouble.code && !w.state.agent_id[0]);
	at(&w, "/etc/x", "");
	(void)unlink(at(&w, "/etc/x", NULL));
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.store.path, at(&w, "/etc/pipeops/agent-state.yaml", NULL)) == 0);
	at(&w, "/var/lib/x", "");
	(void)unlink(at(&w, "/var/lib/x", NULL));
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.store.path, at(&w, "/var/lib/pipeops/agent-state.yaml", NULL)) == 0);
	world_fini(&w);
}

static void test_save_and_load(void)
{
	struct world w;
	struct stat st;
	const struct identity s = { .agent_id = "a", .cluster_id = "c", .cluster_token = "t" };

	world_init(&w);
	identity_load(&w.store, &w.state, &w.places);
	check(identity_save(&w.store, &s, NULL) == 0);
	check(stat(w.store.path, &st) == 0 && (st.st_mode & 0777) == 0600);
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.store.from, w.store.path) == 0);
	check(memcmp(&w.state, &s, sizeof(s)) == 0);
	/* A file with wide permissions is narrow after the next save. */
	check(chmod(w.store.path, 0666) == 0);
	check(identity_save(&w.store, &s, NULL) == 0);
	check(stat(w.store.path, &st) == 0 && (st.st_mode & 0777) == 0600);
	world_fini(&w);
}

static void test_leftover_of_a_save_is_no_obstacle(void)
{
	struct world w;
	const struct identity s = { .agent_id = "a" };

	world_init(&w);
	char own[256];
	snprintf(own, sizeof(own), "%s", at(&w, "/own.yaml", NULL));
	w.places.file = own;
	at(&w, "/own.yaml.new", "half");
	identity_load(&w.store, &w.state, &w.places);
	check(identity_save(&w.store, &s, NULL) == 0);
	check(holds(own, "agent_id: \"a\"\ncluster_id: \"\"\ncluster_token: \"\"\n"));
	world_fini(&w);
}

static void test_a_later_place_is_read_when_the_first_has_none(void)
{
	struct world w;

	world_init(&w);
	at(&w, "/here/.pipeops-agent-state.yaml", "agent_id: old\n");
	at(&w, "/var/lib/pipeops/agent-id", "legacy\n");
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.state.agent_id, "old") ==
	      0); /* a state file ends the time of legacy files */
	check(strcmp(w.store.path, at(&w, "/var/lib/pipeops/agent-state.yaml", NULL)) == 0);
	world_fini(&w);
}

static void test_legacy_files_are_folded_in(void)
{
	struct world w;

	world_init(&w);
	at(&w, "/var/lib/pipeops/agent-id", "agent-7\n");
	at(&w, "/etc/pipeops/agent-id", "agent-8\n");
	at(&w, "/etc/pipeops/cluster-id", "  bad id\n");
	at(&w, "/here/.pipeops-cluster-id", "cluster-9");
	at(&w, "/here/.pipeops-cluster-token", "tok.en\n\n");
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.state.agent_id, "agent-7") == 0);
	check(strcmp(w.state.cluster_id, "cluster-9") == 0);
	check(strcmp(w.state.cluster_token, "tok.en") == 0);
	check(strstr(w.store.trouble.why, "/etc/pipeops/cluster-id") != NULL);
	check(identity_save(&w.store, &w.state, NULL) == 0);
	at(&w, "/var/lib/pipeops/agent-id", "agent-changed\n");
	identity_load(&w.store, &w.state, &w.places);
	check(strcmp(w.state.agent_id, "agent-7") == 0);
	check(!w.store.trouble.code);
	world_fini(&w);
}

static void test_corrupt_file_is_moved_aside(void)
{
	struct world w;
	const struct identity s = { .agent_id = "new" };

	world_init(&w);
	at(&w, "/var/lib/pipeops/agent-state.yaml", "agent_id: [broken\n");
	identity_load(&w.store, &w.state, &w.places);
	check(!w.state.agent_id[0] && !w.store.from[0]);
	check(w.store.trouble.code == ERR_PROTO);
	check(strstr(w.store.trouble.why, "/var/lib/pipeops/agent-state.yaml") != NULL);
	check(strstr(w.store.trouble.why, ".corrupt") != NULL);
	check(holds(at(&w, "/var/lib/pipeops/agent-state.yaml.corrupt", NULL),
		    "agent_id: [broken\n"));
	check(access(at(&w, "/var/lib/pipeops/agent-state.yaml", NULL), F_OK) < 0);
	check(identity_save(&w.store, &s, NULL) == 0);
	world_fini(&w);
}

static void test_what_cannot_be_moved_is_not_replaced(void)
{
	struct world w;
	const struct identity s = { .agent_id = "new" };
	struct fault why = { 0 };

	world_init(&w);
	char own[256];
	snprintf(own, sizeof(own), "%s", at(&w, "/own.yaml", "agent_id: [broken\n"));
	w.places.file = own;
	/* A folder of that name refuses the rename, for root as well. */
	check(mkdir(at(&w, "/own.yaml.corrupt", NULL), 0700) == 0);
	identity_load(&w.store, &w.state, &w.places);
	check(w.store.trouble.code == ERR_PROTO &&
	      strstr(w.store.trouble.why, "left as it is") != NULL);
	check(identity_save(&w.store, &s, &why) == ERR_CONFIG &&
	      strstr(why.why, "agent.state_file") != NULL);
	check(holds(own, "agent_id: [broken\n"));
	world_fini(&w);
}

static void test_too_long_a_file(void)
{
	struct world w;
	char *text = malloc(IDENTITY_FILE_MAX + 2);

	world_init(&w);
	memset(text, '#', IDENTITY_FILE_MAX + 1);
	text[IDENTITY_FILE_MAX + 1] = '\0';
	char own[256];
	snprintf(own, sizeof(own), "%s", at(&w, "/own.yaml", text));
	w.places.file = own;
	identity_load(&w.store, &w.state, &w.places);
	check(w.store.trouble.code == ERR_CONFIG);
	text[IDENTITY_FILE_MAX] = '\0';
	at(&w, "/own.yaml", text);
	identity_load(&w.store, &w.state, &w.places);
	check(!w.store.trouble.code && strcmp(w.store.from, own) == 0);
	free(text);
	world_fini(&w);
}

static void test_own_place_takes_no_legacy_files(void)
{
	struct world w;

	world_init(&w);
	at(&w, "/var/lib/pipeops/agent-id", "legacy\n");
	char own[256];
	snprintf(own, sizeof(own), "%s", at(&w, "/own.yaml", NULL));
	w.places.file = own;
	identity_load(&w.store, &w.state, &w.places);
	check(!w.state.agent_id[0] && strcmp(w.store.path, own) == 0);
	world_fini(&w);
}

/* An agent started in "/" looks into /tmp: there anybody may have written one. */
static void test_planted_file_is_not_taken(void)
{
	static const struct {
		const char *name;
		mode_t dir;
		uid_t owner;
		bool taken;
	} rows[] = {
		{ "another's, in a /tmp", 01777, 12345, false },
		{ "another's, in a volume", 0777, 12345, true },
		{ "root's, in a /tmp", 01777, 0, true },
	};

	if (geteuid()) /* only root can give files away */
		return;
	for (size_t i = 0; i < array_len(rows); i++) {
		struct world w;

		world_init(&w);
		check(chown(at(&w, "/here/tmp/agent-state.yaml", "cluster_id: planted\n"),
			    rows[i].owner, 0) == 0);
		check(chmod(at(&w, "/here/tmp", NULL), rows[i].dir) == 0);
		identity_load(&w.store, &w.state, &w.places);
		check_row(rows[i].name, (w.state.cluster_id[0] != '\0') == rows[i].taken);
		check_row(rows[i].name, (w.store.trouble.code == 0) == rows[i].taken);
		world_fini(&w);
	}
}

static void test_ids(void)
{
	check(identity_is_id("550e8400-e29b-41d4-a716-446655440000"));
	check(identity_is_id("a.b_c:d"));
	check(!identity_is_id(""));
	check(!identity_is_id("."));
	check(!identity_is_id(".."));
	check(!identity_is_id("-x"));
	check(!identity_is_id("a/b"));
	check(!identity_is_id("a%2f"));
	check(!identity_is_id("\xc3\xa4"));
}

int main(void)
{
	static const struct test_case cases[] = {
		{ "texts", test_texts },
		{ "error holds no value", test_error_holds_no_value },
		{ "round trip", test_round_trip },
		{ "write in famine", test_write_in_famine },
		{ "first writable place", test_first_writable_place },
		{ "save and load", test_save_and_load },
		{ "leftover of a save", test_leftover_of_a_save_is_no_obstacle },
		{ "later place", test_a_later_place_is_read_when_the_first_has_none },
		{ "legacy files", test_legacy_files_are_folded_in },
		{ "corrupt file", test_corrupt_file_is_moved_aside },
		{ "not replaced", test_what_cannot_be_moved_is_not_replaced },
		{ "too long", test_too_long_a_file },
		{ "own place", test_own_place_takes_no_legacy_files },
		{ "planted file", test_planted_file_is_not_taken },
		{ "ids", test_ids },
	};
	return run_cases("state", cases, array_len(cases));
}
