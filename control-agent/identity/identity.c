/*
 * The text of the state file: a flat YAML mapping of texts, read by libyaml's events and written by
 * hand.  It opens no file: identity_file.c does.
 */
#include "control-agent/identity/identity.h"

#include <yaml.h>

static const struct key {
	const char *name;
	size_t at, cap;
	bool is_id;
} keys[] = {
	{ "agent_id", offsetof(struct identity, agent_id), sizeof(((struct identity *)0)->agent_id),
	  true },
	{ "cluster_id", offsetof(struct identity, cluster_id),
	  sizeof(((struct identity *)0)->cluster_id), true },
	{ "cluster_token", offsetof(struct identity, cluster_token),
	  sizeof(((struct identity *)0)->cluster_token), false },
};

bool identity_is_id(const char *text)
{
	static const char alnum[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	if (!text[0] || !strchr(alnum, text[0]))
		return false;
	for (const char *c = text; *c; c++)
		if (!strchr(alnum, *c) && !strchr("._:-", *c))
			return false;
	return true;
}

/* A token is one word of printable ASCII: it becomes a JSON text. */
static bool is_word(const char *text)
{
	for (const char *c = text; *c; c++)
		if (*c <= 0x20 || *c >= 0x7f)
			return false;
	return true;
}

int identity_set(struct identity *s, const char *key, struct span value, struct fault *why)
{
	for (size_t i = 0; i < array_len(keys); i++) {
		const struct key *k = &keys[i];

		if (strcmp(key, k->name) != 0)
			continue;
		if (value.n >= k->cap)
			return fault_set(why, ERR_LIMIT, "%s is longer than %zu bytes", k->name,
					 k->cap - 1);
		char *to = (char *)s + k->at;
		if (value.n)
			memcpy(to, value.p, value.n);
		to[value.n] = '\0';
		if (!value.n ||
		    (strlen(to) == value.n && (k->is_id ? identity_is_id(to) : is_word(to))))
			return 1;
		to[0] = '\0';
		return fault_set(why, ERR_PROTO, "the value of %s holds characters that none has",
				 k->name);
	}
	return 0;
}

/* Where a walk through the events of a flat mapping stands. */
struct walk {
	struct identity *out;
	bool opened, closed;
	bool have_key;
	char key[32];  /* "": one that is too long to be ours */
	unsigned seen; /* bits of keys[] */
};

static int on_key(struct walk *w, struct span text, struct fault *why)
{
	w->have_key = true;
	w->key[0] = '\0';
	if (text.n < sizeof(w->key)) {
		memcpy(w->key, text.p, text.n);
		w->key[text.n] = '\0';
	}
	for (size_t i = 0; i < array_len(keys); i++) {
		if (strcmp(w->key, keys[i].name) != 0)
			continue;
		if (w->seen & 1u << i)
			return fault_set(why, ERR_PROTO, "%s stands there twice", keys[i].name);
		w->seen |= 1u << i;
	}
	return 0;
}

static int on_value(struct walk *w, struct span text, struct fault *why)
{
	w->have_key = false;
	if (span_is(text, "null") || span_is(text, "~"))
		return 0;
	return identity_set(w->out, w->key, text, why);
}

static int on_scalar(struct walk *w, struct span text, struct fault *why)
{
	if (w->opened)
		return (w->have_key ? on_value : on_key)(w, text, why);
	if (text.n == 0) /* "---" alone: an empty state */
		return 0;
	return fault_set(why, ERR_PROTO, "only lines of the form \"key: value\" are expected");
}

static int on_event(struct walk *w, const yaml_event_t *ev, struct fault *why)
{
	switch (ev->type) {
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		if (w->closed)
			break;
		w->closed = true; /* to a second one */
		return 0;
	case YAML_MAPPING_START_EVENT:
		if (w->opened)
			break;
		w->opened = true;
		return 0;
	case YAML_SCALAR_EVENT:
		return on_scalar(w, span_of(ev->data.scalar.value, ev->data.scalar.length), why);
	case YAML_SEQUENCE_START_EVENT:
	case YAML_SEQUENCE_END_EVENT:
	case YAML_ALIAS_EVENT:
		break;
	}
	return fault_set(why, ERR_PROTO, "only lines of the form \"key: value\" are expected");
}

int identity_read(struct identity *out, struct span yaml, struct fault *why)
{
	struct identity s = { 0 };
	struct walk w = { .out = &s };
	struct fault inner = { 0 };
	yaml_parser_t parser;
	yaml_event_t ev = { 0 };
	int rc = 0;

	if (yaml.n > IDENTITY_FILE_MAX)
		return fault_set(why, ERR_LIMIT, "the file is longer than %d bytes",
				 IDENTITY_FILE_MAX);
	if (!yaml_parser_initialize(&parser))
		return fault_set(why, ERR_NOMEM, "no memory to read the state file");
	yaml_parser_set_input_string(&parser, yaml.p, yaml.n);
	while (rc >= 0 && ev.type != YAML_STREAM_END_EVENT) {
		if (!yaml_parser_parse(&parser, &ev)) {
			rc = fault_set(why, ERR_PROTO, "line %zu: no YAML: %s",
				       parser.problem_mark.line + 1,
				       parser.problem ? parser.problem : "unreadable");
			break;
		}
		rc = on_event(&w, &ev, &inner);
		if (rc < 0)
			fault_set(why, inner.code, "line %zu: %s", ev.start_mark.line + 1,
				  inner.why);
		const yaml_event_type_t type = ev.type;
		yaml_event_delete(&ev);
		ev.type = type;
	}
	yaml_parser_delete(&parser);
	if (rc >= 0)
		*out = s;
	explicit_bzero(&s, sizeof(s));
	return rc < 0 ? rc : 0;
}

int identity_write(struct buf *to, const struct identity *s)
{
	for (size_t i = 0; i < array_len(keys); i++) {
		const char *value = (const char *)s + keys[i].at;
		char line[64];

		/* What is kept here needs no escapes between quotes but these two. */
		int rc = buf_append(to, line,
				    (size_t)snprintf(line, sizeof(line), "%s: \"", keys[i].name));
		for (const char *c = value; *c && rc >= 0; c++) {
			if (*c == '"' || *c == '\\')
				rc = buf_append(to, "\\", 1);
			if (rc >= 0)
				rc = buf_append(to, c, 1);
		}
		if (rc >= 0)
			rc = buf_append(to, "\"\n", 2);
		if (rc < 0)
			return rc;
	}
	return 0;
}
