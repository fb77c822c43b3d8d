/* A YAML document by libyaml's events: bounded in size and depth, no anchors, aliases,
 * tags or second documents, no key twice.  It knows rows, lists and maps as the table
 * has them, and no key by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "lib/app/config/config_private.h"
#include "lib/base/escape.h"
#include "lib/base/nearest.h"

enum {
	DEPTH_MAX = 16,
	SEEN_MAX = 512,
	KEYS_MAX = 32, /* of an entry: bits of a mask */
};

struct reader {
	void *c;
	const struct config_table *table;
	unsigned program; /* whose rows are kept */
	const char *file;
	struct span text;
	struct fault *why;
	yaml_parser_t parser;
	yaml_event_t ev;
	bool has_event;
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

/* ---- what the library complains of, in words of ours ---- */

/* The byte at a line and column, which count from 0; 0 behind the end. */
static int byte_at(struct span text, size_t line, size_t column)
{
	size_t at = 0;

	for (; at < text.n && line; at++)
		line -= text.p[at] == '\n';
	/* Columns are characters: bytes that continue one do not count. */
	for (; at < text.n && column; at++)
		column -= at + 1 == text.n || (text.p[at + 1] & 0xc0) != 0x80;
	return at < text.n ? text.p[at] : 0;
}

/* Scanner and parser know where; of the bytes' coding only the offset is known. */
static int not_yaml(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	const char *ours = config_yaml_words(p->problem ? p->problem : "");
	size_t line = p->problem_mark.line, column = p->problem_mark.column;

	if (p->error == YAML_MEMORY_ERROR)
		return fault_set(r->why, ERR_NOMEM, "no memory to read %s", r->file);
	if (p->error == YAML_READER_ERROR) {
		line = column = 0;
		for (size_t i = 0; i < p->problem_offset && i < r->text.n; i++) {
			column = r->text.p[i] == '\n' ? 0 : column + 1;
			line += r->text.p[i] == '\n';
		}
	} else if (byte_at(r->text, line, column) == '\t') {
		ours = config_yaml_words("found a tab character");
	}
	return fault_set(r->why, ERR_CONFIG, "%s:%zu:%zu: %s", r->file, line + 1, column + 1, ours);
}

/* ---- events ---- */

/* Wiped: the text may be a secret. */
static void drop_event(struct reader *r)
{
	if (!r->has_event)
		return;
	if (r->ev.type == YAML_SCALAR_EVENT)
		explicit_bzero(r->ev.data.scalar.value, r->ev.data.scalar.length);
	yaml_event_delete(&r->ev);
	r->has_event = false;
}

/* The next event in r->ev. */
static int next(struct reader *r)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	drop_event(r);
	if (!yaml_parser_parse(&r->parser, &r->ev))
		return not_yaml(r);
	r->has_event = true;
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

/* A value that a chart left out: the key counts as absent.  In quotes it is a text. */
static bool is_null(const struct reader *r)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };

	if (r->ev.type != YAML_SCALAR_EVENT || r->ev.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (size_t i = 0; i < array_len(words); i++)
		if (strcmp(scalar(r), words[i]) == 0)
			return true;
	return false;
}

/* ---- keys ---- */

/* FNV-1a; two keys of one file that collide by chance are 1 in 2^64. */
static int note_key(struct reader *r, const char *path)
{
	char shown[80];
	uint64_t h = 14695981039346656037ull;

	for (const char *c = path; *c; c++)
		h = (h ^ (unsigned char)*c) * 1099511628211ull;
	escape_text(shown, sizeof(shown), span_str(path));
	for (size_t i = 0; i < r->seen_n; i++)
		if (r->seen[i] == h)
			return fault_set(r->why, ERR_CONFIG, "%s:%lu: key '%s' stands there twice",
					 r->file, line_of(r), shown);
	if (r->seen_n == SEEN_MAX)
		return complain(r, "too many keys");
	r->seen[r->seen_n++] = h;
	return 0;
}

static int unknown_key(struct reader *r, const char *path)
{
	char shown[80], near[CONFIG_PATH_MAX];

	escape_text(shown, sizeof(shown), span_str(path));
	return config_nearest_path(r->table, near, path)
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

/* ---- lists and maps ---- */

/* A list under construction: its entries go to the configuration when it is whole. */
struct list {
	const struct config_row *row;
	uint8_t *entries;
	size_t n;
};

static int set_entry_value(struct reader *r, const struct config_key *key, void *entry)
{
	struct fault inner = { 0 };
	int rc = config_check_left_over(scalar(r), "a value", ERR_CONFIG, &inner);

	if (rc >= 0)
		rc = key->read(entry, scalar(r), &inner);
	return rc < 0 ? complain(r, inner.why) : 0;
}

static void join_keys(char to[160], const struct config_items *items, bool only_needed,
		      const char *last)
{
	size_t left = 0, n = 0;

	for (size_t i = 0; i < items->keys_n; i++)
		left += !only_needed || items->keys[i].is_needed;
	to[0] = '\0';
	for (size_t i = 0; i < items->keys_n && n < 160; i++) {
		if (only_needed && !items->keys[i].is_needed)
			continue;
		n += (size_t)snprintf(to + n, 160 - n, "%s%s", n ? (left == 1 ? last : ", ") : "",
				      items->keys[i].key);
		left--;
	}
}

static const struct config_key *find_key(struct reader *r, const struct config_items *items)
{
	char shown[80], known[160];

	for (size_t i = 0; i < items->keys_n; i++)
		if (strcmp(items->keys[i].key, scalar(r)) == 0)
			return &items->keys[i];
	escape_text(shown, sizeof(shown), span_str(scalar(r)));
	join_keys(known, items, false, ", ");
	fault_set(r->why, ERR_CONFIG, "%s:%lu: unknown key '%s' in a %s; known are %s", r->file,
		  line_of(r), shown, items->one, known);
	return NULL;
}

/* Behind an entry's mapping start, to its end. */
static int read_keys(struct reader *r, const struct config_items *items, void *entry)
{
	uint32_t seen = 0, given = 0;
	const unsigned long line = line_of(r);
	char known[160];

	for (;;) {
		int rc = next(r);

		if (rc < 0)
			return rc;
		if (r->ev.type == YAML_MAPPING_END_EVENT)
			break;
		if (r->ev.type != YAML_SCALAR_EVENT)
			return complain(r, "a key must be plain text");
		const struct config_key *key = find_key(r, items);
		if (!key)
			return ERR_CONFIG;
		const uint32_t bit = 1u << (key - items->keys);
		if (seen & bit)
			return complain(r, "a key stands there twice");
		seen |= bit;
		rc = next(r);
		if (rc < 0)
			return rc;
		if (is_null(r))
			continue;
		if (r->ev.type != YAML_SCALAR_EVENT)
			return fault_set(r->why, ERR_CONFIG, "%s:%lu: a %s's values are plain",
					 r->file, line_of(r), items->one);
		given |= bit;
		rc = set_entry_value(r, key, entry);
		if (rc < 0)
			return rc;
	}
	join_keys(known, items, true, " and ");
	for (size_t i = 0; i < items->keys_n; i++)
		if (items->keys[i].is_needed && !(given & (1u << i)))
			return fault_set(r->why, ERR_CONFIG, "%s:%lu: a %s needs %s", r->file, line,
					 items->one, known);
	return 0;
}

/* Room for one more. */
static int new_entry(struct reader *r, struct list *l, void **entry)
{
	const struct config_items *items = l->row->items;

	if (l->n == CONFIG_LIST_MAX)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: more than %d %ss", r->file,
				 line_of(r), CONFIG_LIST_MAX, items->one);
	*entry = l->entries + l->n * items->size;
	return 0;
}

static int end_entry(struct reader *r, struct list *l, unsigned long line)
{
	const struct config_items *items = l->row->items;
	const char *name = (const char *)l->entries + l->n * items->size;
	struct fault inner = { 0 };

	for (size_t i = 0; i < l->n; i++)
		if (strcmp((const char *)l->entries + i * items->size, name) == 0)
			return fault_set(r->why, ERR_CONFIG, "%s:%lu: two %ss are named %s",
					 r->file, line, items->one, name);
	if (items->check && items->check(l->entries, l->n + 1, &inner) < 0)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: %s", r->file, line, inner.why);
	l->n++;
	return 0;
}

/* One entry of a LIST, whose first event is r->ev. */
static int read_entry(struct reader *r, struct list *l)
{
	const struct config_items *items = l->row->items;
	const unsigned long line = line_of(r);
	char known[160];
	void *entry;
	int rc;

	if (is_null(r))
		return 0;
	const bool is_plain = !items->keys[0].key;
	if (is_plain && r->ev.type != YAML_SCALAR_EVENT)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: a %s is a plain value", r->file, line,
				 items->one);
	if (!is_plain && r->ev.type != YAML_MAPPING_START_EVENT) {
		join_keys(known, items, false, " and ");
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: a %s is a map of %s", r->file, line,
				 items->one, known);
	}
	rc = new_entry(r, l, &entry);
	if (rc >= 0)
		rc = is_plain ? set_entry_value(r, items->keys, entry) : read_keys(r, items, entry);
	return rc < 0 ? rc : end_entry(r, l, line);
}

static int read_list(struct reader *r, struct list *l)
{
	const struct config_items *items = l->row->items;
	const char *first = items->keys[0].key;

	if (r->ev.type != YAML_SEQUENCE_START_EVENT)
		return fault_set(r->why, ERR_CONFIG,
				 "%s:%lu: %s is a list; each entry starts with '- %s%s'", r->file,
				 line_of(r), l->row->path, first ? first : "", first ? ":" : "");
	for (;;) {
		int rc = next(r);

		if (rc < 0 || r->ev.type == YAML_SEQUENCE_END_EVENT)
			return rc;
		rc = read_entry(r, l);
		if (rc < 0)
			return rc;
	}
}

static int read_pairs(struct reader *r, struct list *l)
{
	const struct config_items *items = l->row->items;
	char path[CONFIG_PATH_MAX];
	void *entry;

	if (r->ev.type != YAML_MAPPING_START_EVENT)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: %s is a map of plain values", r->file,
				 line_of(r), l->row->path);
	for (;;) {
		int rc = next(r);

		if (rc < 0 || r->ev.type == YAML_MAPPING_END_EVENT)
			return rc;
		rc = new_entry(r, l, &entry);
		if (rc < 0)
			return rc;
		if (r->ev.type != YAML_SCALAR_EVENT)
			return complain(r, "a key must be plain text");
		rc = set_entry_value(r, &items->keys[0], entry);
		if (rc >= 0)
			rc = extend(r, path, l->row->path);
		if (rc >= 0)
			rc = next(r);
		if (rc < 0)
			return rc;
		if (is_null(r)) {
			memset(entry, 0, items->size);
			continue;
		}
		if (r->ev.type != YAML_SCALAR_EVENT)
			return fault_set(r->why, ERR_CONFIG,
					 "%s:%lu: %s takes plain text for each key", r->file,
					 line_of(r), l->row->path);
		rc = set_entry_value(r, &items->keys[1], entry);
		if (rc < 0)
			return rc;
		l->n++;
	}
}

/* The whole list stands in place of the default; of another program's nothing stays. */
static int read_entries(struct reader *r, const struct config_row *row)
{
	struct list l = { .row = row };
	const size_t bytes = CONFIG_LIST_MAX * row->items->size;

	must(row->items->keys_n <= KEYS_MAX);
	l.entries = calloc(1, bytes);
	if (!l.entries)
		return fault_set(r->why, ERR_NOMEM, "no memory to read %s", r->file);
	const int rc = row->type == CONFIG_LIST ? read_list(r, &l) : read_pairs(r, &l);
	if (rc >= 0 && (row->users & r->program)) {
		memcpy((char *)r->c + row->offset, l.entries, bytes);
		*(size_t *)((char *)r->c + row->count_offset) = l.n;
	}
	explicit_bzero(l.entries, bytes);
	free(l.entries);
	return rc;
}

/* ---- the tree ---- */

static int read_map(struct reader *r, const char *prefix);

/* The value of a key, whose event is r->ev. */
static int read_value(struct reader *r, const char *path)
{
	const struct config_row *row = config_row_at(r->table, path);
	char what[CONFIG_PATH_MAX + 64];

	if (is_null(r))
		return 0;
	if (!row)
		return r->ev.type == YAML_MAPPING_START_EVENT
			       ? read_map(r, path)
			       : fault_set(r->why, ERR_CONFIG,
					   "%s:%lu: %s is a section with keys below it", r->file,
					   line_of(r), path);
	if (row->items)
		return read_entries(r, row);
	if (r->ev.type != YAML_SCALAR_EVENT)
		return fault_set(r->why, ERR_CONFIG, "%s:%lu: %s takes one plain value", r->file,
				 line_of(r), path);
	snprintf(what, sizeof(what), "%s:%lu: %s", r->file, line_of(r), path);
	return config_set(row->users & r->program ? r->c : NULL, row, scalar(r), what, ERR_CONFIG,
			  r->why);
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
		if (!config_row_at(r->table, path) && !config_is_section(r->table, path))
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
			if (!is_null(r))
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

int config_yaml_read(void *c, const struct config_table *t, unsigned program, const char *file,
		     const char *text, size_t n, struct fault *why)
{
	struct reader r = { .c = c, .table = t, .program = program, .file = file, .why = why };

	r.text = span_of(text, n);
	if (!yaml_parser_initialize(&r.parser))
		return fault_set(why, ERR_NOMEM, "no memory to read %s", file);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
	const int rc = read_document(&r);
	drop_event(&r);
	yaml_parser_delete(&r.parser);
	return rc < 0 ? rc : 0;
}
