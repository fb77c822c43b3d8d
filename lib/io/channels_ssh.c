/*
 * channels_ssh -- lib/io/channels.h on the SSH engine of lib/proto/ssh. Every
 * function is one call of the engine; ssh2_channels.c is the same table on
 * libssh2.
 */
#include "lib/io/channels.h"

static void accept_channel(void *link, uint32_t channel)
{
	ssh_channel_accept(link, channel);
}

static void reject(void *link, uint32_t channel, enum ssh_open_failure code, const char *text)
{
	ssh_channel_reject(link, channel, code, text);
}

static size_t writable(void *link, uint32_t channel)
{
	return ssh_channel_writable(link, channel);
}

static int write_channel(void *link, uint32_t channel, const uint8_t *p, size_t n)
{
	return ssh_channel_write(link, channel, p, n);
}

static void want_write(void *link, uint32_t channel)
{
	ssh_channel_want_write(link, channel);
}

static void pass(void *link, uint32_t channel)
{
	ssh_channel_pass(link, channel);
}

static void grow(void *link, uint32_t channel, uint32_t more)
{
	ssh_channel_grow(link, channel, more);
}

static void credit(void *link, uint32_t channel, size_t n)
{
	ssh_channel_credit(link, channel, n);
}

static void eof(void *link, uint32_t channel)
{
	ssh_channel_eof(link, channel);
}

static void close_channel(void *link, uint32_t channel)
{
	ssh_channel_close(link, channel);
}

static void set_user(void *link, uint32_t channel, void *user)
{
	ssh_channel_set_user(link, channel, user);
}

static void *user_of(void *link, uint32_t channel)
{
	return ssh_channel_user(link, channel);
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
};

struct channels channels_of_ssh(struct ssh *s)
{
	return (struct channels){ .ops = &ops, .link = s };
}
