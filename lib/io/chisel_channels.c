/*
 * chisel_channels -- lib/io/channels.h on a connection to a chisel server: every function is
 * one call of the engine, and the flush is the connection's; ssh2_channels.c is the same table
 * on libssh2.
 */
#include "lib/io/chisel_conn.h"

static struct ssh *engine(void *link)
{
	return chisel_stack_ssh(chisel_conn_stack(link));
}

static void accept_channel(void *link, uint32_t channel)
{
	ssh_channel_accept(engine(link), channel);
}

static void reject(void *link, uint32_t channel, enum ssh_open_failure code, const char *text)
{
	ssh_channel_reject(engine(link), channel, code, text);
}

static size_t writable(void *link, uint32_t channel)
{
	return ssh_channel_writable(engine(link), channel);
}

static int write_channel(void *link, uint32_t channel, const uint8_t *p, size_t n)
{
	return ssh_channel_write(engine(link), channel, p, n);
}

static void want_write(void *link, uint32_t channel)
{
	ssh_channel_want_write(engine(link), channel);
}

static void pass(void *link, uint32_t channel)
{
	ssh_channel_pass(engine(link), channel);
}

static void grow(void *link, uint32_t channel, uint32_t more)
{
	ssh_channel_grow(engine(link), channel, more);
}

static void credit(void *link, uint32_t channel, size_t n)
{
	ssh_channel_credit(engine(link), channel, n);
}

static void eof(void *link, uint32_t channel)
{
	ssh_channel_eof(engine(link), channel);
}

static void close_channel(void *link, uint32_t channel)
{
	ssh_channel_close(engine(link), channel);
}

static void set_user(void *link, uint32_t channel, void *user)
{
	ssh_channel_set_user(engine(link), channel, user);
}

static void *user_of(void *link, uint32_t channel)
{
	return ssh_channel_user(engine(link), channel);
}

static void flush(void *link)
{
	chisel_conn_flush(link);
}

static const struct channels_ops ops = {
	.accept = accept_channel,
	.reject = reject,
	.writable = writable,
	.write = write_channel,
	.want_write = want_write,
	.pass = pass,
	.grow = grow,
	.credit = credit,
	.eof = eof,
	.close = close_channel,
	.set_user = set_user,
	.user = user_of,
	.flush = flush,
};

struct channels chisel_conn_channels(struct chisel_conn *c)
{
	return (struct channels){ .ops = &ops, .link = c };
}
