/*
 * ssh_channel_table -- numbers to channels: a table that grows, and a list of
 * free places. It does not look at what a channel carries.
 */
#include "lib/proto/ssh/ssh_channel.h"

enum { TABLE_FIRST = 8 };

void ssh_mux_init(struct ssh *s)
{
	s->mux.free_head = SSH_CHANNEL_NONE;
	ssh_scheduler_init(s);
}

void ssh_mux_fini(struct ssh *s)
{
	mem_free(s->config.mem, s->mux.table);
	s->mux.table = NULL;
	s->mux.table_n = 0;
}

void ssh_mux_trim(struct ssh *s)
{
	if (s->mux.open_n || !s->mux.table || s->slot.kind != SSH_EVENT_NONE)
		return;
	ssh_mux_fini(s);
	ssh_mux_init(s);
}

static int grow_table(struct ssh *s)
{
	struct ssh_mux *m = &s->mux;
	const uint32_t max = s->config.channels_max;
	const uint32_t n = m->table_n ? m->table_n * 2 : TABLE_FIRST;
	const uint32_t size = n < max ? n : max;
	struct ssh_channel *table = mem_alloc_zeroed(s->config.mem, size * sizeof(*table));

	if (!table)
		return fault_set(&s->fault, ERR_NOMEM, "no memory for %u channels", size);
	if (m->table_n)
		memcpy(table, m->table, m->table_n * sizeof(*table));
	for (uint32_t i = size; i-- > m->table_n;) {
		table[i].next = m->free_head;
		m->free_head = i;
	}
	mem_free(s->config.mem, m->table);
	m->table = table;
	m->table_n = size;
	return 0;
}

int64_t ssh_channel_alloc(struct ssh *s, enum ssh_channel_state state)
{
	struct ssh_mux *m = &s->mux;

	if (m->open_n >= s->config.channels_max)
		return ERR_FULL;
	if (m->free_head == SSH_CHANNEL_NONE) {
		const int rc = grow_table(s);
		if (rc < 0)
			return rc;
	}
	const uint32_t id = m->free_head;
	m->free_head = m->table[id].next;
	m->table[id] = (struct ssh_channel){ .state = (uint8_t)state,
					     .next = SSH_CHANNEL_NONE,
					     .prev = SSH_CHANNEL_NONE,
					     .rx_window = s->config.window,
					     .rx_total = s->config.window };
	m->open_n++;
	return id;
}

struct ssh_channel *ssh_channel_at(const struct ssh *s, uint32_t id)
{
	must(id < s->mux.table_n && s->mux.table[id].state != SSH_CHANNEL_FREE);
	return &s->mux.table[id];
}

/* The number may be used again.  `user` stays readable until it is. */
void ssh_mux_release(struct ssh *s, uint32_t id)
{
	struct ssh_mux *m = &s->mux;
	struct ssh_channel *c = &m->table[id];

	ssh_scheduler_leave(s, id);
	c->state = SSH_CHANNEL_FREE;
	c->next = m->free_head;
	m->free_head = id;
	m->open_n--;
}
