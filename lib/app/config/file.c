/* The YAML file, by libyaml's events: bounded in size and depth, no anchors,
 * aliases, tags or second documents, no key twice.  Each program keeps its own
 * rows; a child process does the reading, see config_private.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yaml.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"
#include "lib/io/file.h"

enum {
	FILE_MAX = 256 * 1024,
	DEPTH_MAX = 16,
	SEEN_MAX = 512,
};

struct reader {
	struct config *c;
	unsigned program; /* whose rows are kept */
	const char *file;
	struct fault *why;
	yaml_parser_t parser;
	yaml_event_t ev;
	bool has_event, has_forwards;
	unsigned depth;
	uint64_t seen[SEEN_MAX]; /* hashes of the paths of keys: duplicates */
	size_t seen_n;
};

static unsigned long line_of(const struct reader *r)
{
	return r->ev.start_mark.line + 1;
}

static int complain(struct reader *r, const char *text)
{
	return fault_set(r->why, ERR_CONFIG, "%s:%lu: %s", r->file, line_of(r), text);
}

/* The next event in r->ev. */
static int next(struct reader *r)
{
	if (r->has_event)
		yaml_event_delete(&r->ev);
	r->has_event = false;
	if (!yaml_parser_parse(&r->parser, &r->ev))
		return fault_set(r->why, ERR_CONFIG, "%s:%zu: %s", r->file,
				 r->parser.problem_mark.line + 1,
				 r->parser.problem ? r->parser.problem : "not readable as YAML");
	r->has_event = true;
	const yaml_char_t *anchor = NULL, *tag = NULL;
	if (r->ev.type == YAML_ALIAS_EVENT)
		return complain(r, "aliases are not supported here; write the value out");
	if (r->ev.type == YAML_SCALAR_EVENT) {
		anchor = r->ev.data.scalar.anchor;
		tag = r->ev.data.scalar.tag;
		if (strlen((const char *)r->ev.data.scalar.value) != r->ev.data.scalar.length)
			return complain(r, "a value holds a NUL byte");
	} else if (r->ev.type == YAML_MAPPING_START_EVENT) {
		anchor = r->ev.data.mapping_start.anchor;
		tag = r->ev.data.mapping_start.tag;
	} else if (r->ev.type == YAML_SEQUENCE_START_EVENT) {
		anchor = r->ev.data.sequence_start.anchor;
		tag = r->ev.data.sequence_start.tag;
	}
	if (anchor)
		return complain(r, "anchors are not supported here; write the value out");
	return tag ? complain(r, "tags are not supported here") : 0;
}

static const char *scalar(const struct reader *r)
{
	return (const char *)r->ev.data.scalar.value;
}

static const char *escape(char to[80], const char *text)
{
	escape_text(to, 80, span_str(text));
	return to;
}

/* FNV-1a; two keys of one file that collide by chance are 1 in 2^64. */
static int note_key(struct reader *r, const char *path)
{
	char shown[80];
	uint64_t h = 14695981039346656037ull;

	for (const char *c = path; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211ull;
	for (size_t i = 0; i < r->seen_n; i++)
		if (r->seen[i] == h)
			return fault_set(r->why, ERR_CONFIG, "%s:%lu: key '%s' stands there twice",
					 r->file, line_of(r), escape(shown, path));
	if (r->seen_n == SEEN_MAX)
		return complain(r, "too many keys");
	r->seen[r->seen_n++] = h;
	return 0;
}

static int unknown_key(struct reader *r, const char *path)
{
	char shown[80], near[CONFIG_PATH_MAX];

	escape_text(shown, sizeof(shown), span_str(path));
	return config_nearest_path(near, path)
		       ? fault_set(r->why, ERR_CONFIG,
				   "%s:%lu: unknown key '%s'; did you mean '%s'?", r->file,
				   line_of(r), shown, near)
		       : fault_set(r->why, ERR_CONFIG, "%s:%lu: unknown key '%s'", r->file,
				   line_of(r), shown);
}

static int extend(struct reader *r, char to[CONFIG_PATH_MAX], const char *prefix)
{
	const int n =
		snprintf(to, CONFIG_PATH_MAX, "%s%s%s", prefix, *prefix ? "." : "", scalar(r));

	return n >= CONFIG_PATH_MAX ? complain(r, "key is too long") : note_key(r, to);
}

/* ---- tunnel.forwards ---- */

static int set_forward_field(struct reader *r, struct config_forward *f, const char *key)
{
	struct fault inner = { 0 };
	char what[160];

	if (strcmp(key, "name") == 0) {
		const size_t n = strlen(scalar(r));
		if (!n || n > CONFIG_NAME_MAX ||
		    strspn(scalar(r),
			   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") < n)
			return complain(
				r,
				"a forward's name is letters, digits, '-', '_', '.', at most 63");
		memcpy(f->name, scalar(r), n + 1);
		return 0;
	}
	if (strcmp(key, "local_addr") == 0) {
		if (config_address(scalar(r), f->host, &f->port, &inner) < 0)
			return complain(r, inner.why);
		snprintf(f->local_addr, sizeof(f->local_addr), "%s", scalar(r));
		return 0;
	}
	if (strcmp(key, "remote_port") == 0) {
		int64_t v;
		if (!config_count(scalar(r), "0..65535", &v))
			return complain(
				r, "remote_port is 0 (assigned by the control plane) to 65535");
		f->remote_port = (uint16_t)v;
		return 0;
	}
	escape_text(what, sizeof(what) - 64, span_str(key));
	return fault_set(
		r->why, ERR_CONFIG,
		"%s:%lu: unknown key '%s' in a forward; known are name, local_addr, remote_port",
		r->file, line_of(r), what);
}

static int read_forward(struct reader *r)
{
	struct config *c = r->c;
	struct config_forward f = { 0 };
	unsigned seen = 0;
	const unsigned long line = line_of(r);

	if (r->ev.type != YAML_MAPPING_START_EVENT)
		return complain(r, "a forward is a map of name, local_addr and remote_port");
	for (;;) {
		char key[CONFIG_PATH_MAX];
		int rc = next(r);

		if (rc < 0)
			return rc;
		if (r->ev.type == YAML_MAPPING_END_EVENT)
			break;
		if (r->ev.type != YAML_SCALAR_EVENT || strlen(scalar(r)) >= sizeof(key))
			return complain(r, "a key must be plain text");
		snprintf(key, sizeof(key), "%s", scalar(r));
		rc = next(r);
		if (rc < 0)
			return rc;
		if (r->ev.type != YAML_SCALAR_EVENT)
			return complain(r, "a forward's values are plain");
		rc = set_forward_field(r, &f, key);
		if (rc < 0)
			return rc;
		const unsigned bit = key[0] == 'n' ? 1 : key[0] == 'l' ? 2 : 4;
		if (seen & bit)
			return complain(r, "a key stands there twice");
		seen |= bit;
	}
	if ((seen & 3) != 3)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: a forward needs name and local_addr",
				 r->file, line);
	for (size_t i = 0; i < c->forwards_n; i++)
		if (strcmp(c->forwards[i].name, f.name) == 0)
			return fault_set(r->why, ERR_CONFIG, "%s:%lu: two forwards are named %s",
					 r->file, line, f.name);
	if (c->forwards_n == CONFIG_FORWARDS_MAX)
		return complain(r, "more than 32 forwards");
	c->forwards[c->forwards_n++] = f;
	return 0;
}

static int read_forwards(struct reader *r)
{
	if (r->ev.type != YAML_SEQUENCE_START_EVENT)
		return complain(r, "tunnel.forwards is a list; each entry starts with '- name:'");
	r->has_forwards = true;
	for (;;) {
		int rc = next(r);

		if (rc < 0 || r->ev.type == YAML_SEQUENCE_END_EVENT)
			return rc;
		rc = read_forward(r);
		if (rc < 0)
			return rc;
	}
}

/* ---- agent.labels ---- */

static int read_labels(struct reader *r)
{
	struct config *c = r->c;
	char path[CONFIG_PATH_MAX];

	if (r->ev.type != YAML_MAPPING_START_EVENT)
		return complain(r, "agent.labels is a map of plain values");
	for (;;) {
		int rc = next(r);

		if (rc < 0 || r->ev.type == YAML_MAPPING_END_EVENT)
			return rc;
		if (c->labels_n == CONFIG_LABELS_MAX)
			return complain(r, "more than 32 labels");
		struct config_label *l = &c->labels[c->labels_n];
		if (r->ev.type != YAML_SCALAR_EVENT || strlen(scalar(r)) >= sizeof(l->key))
			return complain(r, "a label's name is plain text of at most 63 characters");
		rc = extend(r, path, "agent.labels");
		if (rc < 0)
			return rc;
		snprintf(l->key, sizeof(l->key), "%s", scalar(r));
		rc = next(r);
		if (rc < 0)
			return rc;
		if (r->ev.type != YAML_SCALAR_EVENT || strlen(scalar(r)) >= sizeof(l->value))
			return complain(r,
					"a label's value is plain text of at most 255 characters");
		snprintf(l->value, sizeof(l->value), "%s", scalar(r));
		c->labels_n++;
	}
}

/* ---- the tree ---- */

static bool is_section(const char *path)
{
	const size_t n = strlen(path);

	for (size_t i = 0; i < config_rows_n; i++)
		if (strncmp(config_rows[i].path, path, n) == 0 && config_rows[i].path[n] == '.')
			return true;
	return false;
}

static int read_map(struct reader *r, const char *prefix);

/* The value of a key, whose event is r->ev. */
static int read_value(struct reader *r, const char *path)
{
	const struct config_row *row = config_row_at(path);
	char what[CONFIG_PATH_MAX + 64];

	if (strcmp(path, "tunnel.forwards") == 0)
		return read_forwards(r);
	if (strcmp(path, "agent.labels") == 0)
		return read_labels(r);
	if (!row && !is_section(path))
		return unknown_key(r, path);
	if (!row && r->ev.type == YAML_SCALAR_EVENT && !*scalar(r))
		return 0; /* a section that is empty */
	if (!row)
		return r->ev.type == YAML_MAPPING_START_EVENT
			       ? read_map(r, path)
			       : fault_set(r->why, ERR_CONFIG,
					   "%s:%lu: %s is a section with keys below it", r->file,
					   line_of(r), path);
	if (r->ev.type != YAML_SCALAR_EVENT)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: %s takes one plain value", r->file,
				 line_of(r), path);
	if (row->type == CONFIG_SECRET && strlen(scalar(r)) >= CONFIG_TEXT_MAX)
		return complain(r, "the value is too long");
	snprintf(what, sizeof(what), "%s:%lu: %s", r->file, line_of(r), path);
	if (row->users & r->program)
		return config_set(r->c, row, scalar(r), what, ERR_CONFIG, r->why);
	return config_check(row, scalar(r), what, ERR_CONFIG, r->why);
}

/* Behind a mapping's start, to its end. */
static int read_map(struct reader *r, const char *prefix)
{
	if (++r->depth > DEPTH_MAX)
		return complain(r, "nested too deeply");
	for (;;) {
		char path[CONFIG_PATH_MAX];
		int rc = next(r);

		if (rc < 0)
			return rc;
		if (r->ev.type == YAML_MAPPING_END_EVENT)
			break;
		if (r->ev.type != YAML_SCALAR_EVENT)
			return complain(r, "a key must be plain text");
		rc = extend(r, path, prefix);
		if (rc < 0)
			return rc;
		if (!config_row_at(path) && !is_section(path) &&
		    strcmp(path, "tunnel.forwards") != 0 && strcmp(path, "agent.labels") != 0)
			return unknown_key(r, path); /* names the key's line, not the value's */
		rc = next(r);
		if (rc >= 0)
			rc = read_value(r, path);
		if (rc < 0)
			return rc;
	}
	r->depth--;
	return 0;
}

static int read_document(struct reader *r)
{
	int rc;

	while ((rc = next(r)) >= 0) {
		switch ((int)r->ev.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_START_EVENT:
			continue;
		case YAML_STREAM_END_EVENT:
			return 0; /* an empty file */
		case YAML_SCALAR_EVENT:
			if (*scalar(r))
				return complain(r, "the file is no map of keys");
			break;
		case YAML_MAPPING_START_EVENT:
			rc = read_map(r, "");
			break;
		default:
			return complain(r, "the file is no map of keys");
		}
		break;
	}
	if (rc >= 0)
		rc = next(r); /* end of the document */
	if (rc >= 0)
		rc = next(r);
	if (rc >= 0 && r->ev.type != YAML_STREAM_END_EVENT)
		return complain(r, "more than one document");
	return rc;
}

/* `name` is the path as it may be shown. */
static int load(const char *path, const char *name, char *to, struct fault *why)
{
	struct fault inner = { 0 };
	const int n = file_read(to, FILE_MAX + 1, path, 0, NULL, &inner);

	if (n == ERR_SYS)
		return fault_set(why, ERR_CONFIG, "configuration file %s: %s", name,
				 strerror(inner.sys));
	/* The sentence without the path: it may not be fit to be shown. */
	return n < 0 ? fault_set(why, ERR_CONFIG, "configuration file %s%s", name,
				 inner.why + min_size(strlen(path), 160))
		     : n;
}

int config_text_read(struct config *c, unsigned program, const char *file, const char *text,
		     size_t n, struct fault *why)
{
	struct reader r = { .c = c, .program = program, .file = file, .why = why };

	if (!yaml_parser_initialize(&r.parser))
		return fault_set(why, ERR_NOMEM, "no memory to read %s", file);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	const int rc = read_document(&r);
	if (r.has_event)
		yaml_event_delete(&r.ev);
	yaml_parser_delete(&r.parser);
	return rc < 0 ? rc : r.has_forwards;
}

/* What the child hands over. */
struct result {
	bool done;
	int rc;
	struct fault why;
	struct config c;
};

static void read_in_child(struct result *to, unsigned program, const char *path, const char *name)
{
	const struct rlimit none = { 0, 0 };
	char *text = malloc(FILE_MAX + 1);

	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!text) {
		to->rc = fault_set(&to->why, ERR_NOMEM, "no memory to read %s", name);
	} else {
		const int n = load(path, name, text, &to->why);
		to->rc = n < 0 ? n
			       : config_text_read(&to->c, program, name, text, (size_t)n, &to->why);
	}
	to->done = true;
	_exit(0);
}

int config_file_read(struct config *c, unsigned program, const char *path, struct fault *why)
{
	char name[120];

	escape_text(name, sizeof(name), span_str(path));
	struct result *to =
		mmap(NULL, sizeof(*to), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (to == MAP_FAILED)
		return fault_set(why, ERR_NOMEM, "no memory to read %s", name);
	to->c = *c;
	const pid_t child = fork();
	if (child == 0)
		read_in_child(to, program, path, name);
	/* Whoever started us may have SIGCHLD ignored: then waitpid() waits all the same
	 * and says ECHILD. */
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	int rc = to->rc;
	if (child < 0)
		rc = fault_set_sys(why, errno, "configuration file %s: start of its reader", name);
	else if (!to->done)
		rc = fault_set(why, ERR_CONFIG, "configuration file %s: its reader crashed", name);
	else if (rc < 0)
		rc = fault_set(why, to->why.code, "%s", to->why.why);
	else
		*c = to->c;
	explicit_bzero(to, sizeof(*to));
	(void)munmap(to, sizeof(*to));
	return rc;
}

const struct config_row *config_row_at(const char *path)
{
	for (size_t i = 0; i < config_rows_n; i++)
		if (strcmp(config_rows[i].path, path) == 0)
			return &config_rows[i];
	return NULL;
}

static size_t count_parts(const char *path)
{
	size_t n = 1;

	for (; *path; path++)
		n += *path == '.';
	return n;
}

/* A path is compared with as many parts of the known ones as it has itself, so
 * a wrong section is told as such; the right key in the wrong section is near,
 * too. */
bool config_nearest_path(char to[CONFIG_PATH_MAX], const char *path)
{
	static const char *const lists[] = { "tunnel.forwards", "agent.labels" };
	const char *dot = strrchr(path, '.'), *leaf = dot ? dot + 1 : path;
	const size_t parts = count_parts(path);
	unsigned least = (unsigned)min_size(3, 1 + strlen(leaf) / 3) + 1;
	const unsigned too_far = least;

	for (size_t i = 0; i < config_rows_n + array_len(lists); i++) {
		const char *known =
			i < config_rows_n ? config_rows[i].path : lists[i - config_rows_n];
		char head[CONFIG_PATH_MAX];
		size_t n = 0;

		for (size_t left = parts; known[n] && (known[n] != '.' || --left); n++)
			head[n] = known[n];
		head[n] = '\0';
		const bool same_leaf = strcmp(strrchr(known, '.') + 1, leaf) == 0;
		const unsigned d = config_distance(path, head, least);

		if (d < least || (same_leaf && least == too_far)) {
			snprintf(to, CONFIG_PATH_MAX, "%s", d < least ? head : known);
			least = d < least ? d : too_far - 1;
		}
	}
	return least < too_far;
}
