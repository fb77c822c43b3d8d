/*
 * The life of one channel: it may wait for its turn to dial, dials, is joined to the
 * local connection by a channel_pipe, and leaves; and who may have how much of what all
 * channels share.  It knows no protocol: lib/io/channels.h is all it sees of the link.
 */
#include "tunnel-sidecar/forward.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/app/log.h"
#include "lib/base/mem.h"
#include "lib/base/units.h"
#include "lib/io/dial.h"

struct forward {
	struct forward_set *set;
	struct forward *prev, *next;
	uint32_t channel;
	unsigned index;
	uint64_t moved_ns;     /* loop clock: opened, or the last byte either way */
	bool is_ending;	       /* forward_set_end_silent() has asked for it */
	struct share share;    /* of the windows */
	struct timer patience; /* set: others of its forward are dialling */
	const char *host;      /* of the session's target, which outlives its channels */
	uint16_t port;
	struct dial *dial;	   /* first this … */
	struct channel_pipe *pipe; /* … then this */
};

static void destroy(struct forward *f)
{
	struct forward_set *set = f->set;

	if (f->prev)
		f->prev->next = f->next;
	else
		set->first = f->next;
	if (f->next)
		f->next->prev = f->prev;
	set->n--;
	set->open[f->index]--;
	windows_give_back(set->windows, &f->share);
	mem_free(&mem_heap, f);
	set->left(set->user);
}

static void on_bytes(void *user, enum pipe_direction d, size_t n)
{
	struct forward *f = user;

	f->set->last_byte_ns = f->moved_ns = loop_now(f->set->loop);
	publish_bytes(f->set->publish, f->index, d == PIPE_TO_CHANNEL ? PUBLISH_UP : PUBLISH_DOWN,
		      n);
	if (d == PIPE_TO_SOCKET)
		windows_received(f->set->windows, &f->share, n);
}

/* Nothing is granted to a share that has ended: the link may be another by now. */
static void on_passed(void *user, size_t n)
{
	struct forward *f = user;
	const uint32_t more = windows_passed(f->set->windows, &f->share, n);

	if (more)
		channels_grow(&f->set->channels, f->channel, more);
}

static void on_gone(void *user)
{
	struct forward *f = user;
	struct forward_set *set = f->set;

	publish_channel_closed(set->publish, f->index);
	destroy(f);
}

static void say_failed(struct forward *f, const char *message, const struct fault *why)
{
	uint64_t missed;

	if (rate_allow(&f->set->rate, loop_now(f->set->loop), &missed))
		log_warn("channel_dial_failed", message, L_INT("forward", f->index),
			 L_STR("error", why->why), L_INT("unsaid", missed));
}

/* An open that came to nothing: the service did not accept, or the peer did not
 * wait for it. */
static void note_failure(struct forward_set *set, unsigned index)
{
	const uint64_t now = loop_now(set->loop);

	set->failing_ns[index] = (set->failing_ns[index] > now ? set->failing_ns[index] : now) +
				 LIMIT_NS(FAILED_OPEN_REFILL);
}

static bool is_failing(const struct forward_set *set, unsigned index)
{
	return set->failing_ns[index] >
	       loop_now(set->loop) + LIMIT_FAILED_OPENS * LIMIT_NS(FAILED_OPEN_REFILL);
}

static void refuse(struct forward *f, enum ssh_open_failure code, const struct fault *why)
{
	struct forward_set *set = f->set;

	say_failed(f, "the local service did not accept a connection", why);
	publish_dial_failed(set->publish, f->index);
	note_failure(set, f->index);
	channels_set_user(&set->channels, f->channel, NULL);
	channels_reject(&set->channels, f->channel, code, "the local service did not accept");
	destroy(f);
	channels_flush(&set->channels);
}

/* What the service does not take waits in the kernel, and a container pays for that
 * memory as well (cgroup v2): no more of it than the first window. */
static void bound_unsent(int fd, const struct share *s)
{
	const uint32_t bytes = s->first ? s->first : BUDGET_START;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

static void serve(struct forward *f, struct dial_result *result)
{
	struct forward_set *set = f->set;

	bound_unsent(result->fd, &f->share);
	if (!set->channels.own_windows)
		channels_grow(&set->channels, f->channel, f->share.first);
	channels_accept(&set->channels, f->channel);
	const struct channel_pipe_options options = {
		.loop = set->loop,
		.channels = set->channels,
		.channel = f->channel,
		.fd = result->fd,
		.budget = &set->budget,
		.on_bytes = on_bytes,
		.on_passed = on_passed,
		.on_gone = on_gone,
		.user = f,
	};
	publish_channel_opened(set->publish, f->index);
	set->last_byte_ns = f->moved_ns = loop_now(set->loop);
	if (channel_pipe_new(&f->pipe, &options, &result->why) < 0) {
		say_failed(f, "a connection could not be served", &result->why);
		channels_set_user(&set->channels, f->channel, NULL);
		channels_close(&set->channels, f->channel);
		on_gone(f);
	}
	channels_flush(&set->channels);
}

static void refuse_surplus(struct forward_set *set, uint32_t channel, unsigned index,
			   enum bus_refusal reason)
{
	uint64_t missed;

	if (rate_allow(&set->rate, loop_now(set->loop), &missed))
		log_warn("channel_rejected",
			 reason == BUS_REFUSAL_BUSY
				 ? "too many connections are open or being opened"
			 : reason == BUS_REFUSAL_MEMORY
				 ? "the container's memory has no room for one more"
				 : "too many connections to this service failed",
			 L_INT("forward", index), L_INT("connections", set->open[index]),
			 L_INT("dialling", set->dials[index]), L_INT("all_connections", set->n),
			 L_INT("unsaid", missed));
	publish_channel_rejected(set->publish, reason);
	channels_reject(&set->channels, channel, SSH_OPEN_RESOURCE_SHORTAGE,
			"too many connections");
}

/* Users of one forward can't have the room of another's: each keeps its reserve, the rest
 * is for whoever comes first. */
static bool has_room(const struct forward_set *set, unsigned index)
{
	const size_t reserve = min_size(FORWARDS_RESERVE, set->room / (set->forwards_n + 1));
	size_t taken = set->n;

	for (size_t i = 0; i < set->forwards_n; i++)
		if (set->forwards[i] != index && set->open[set->forwards[i]] < reserve)
			taken += reserve - set->open[set->forwards[i]];
	return taken < set->room;
}

static bool may_dial(const struct forward_set *set, unsigned index)
{
	const size_t most = LIMIT_PENDING_DIALS / (set->forwards_n ? set->forwards_n : 1);

	return set->dials[index] <
	       (most > LIMIT_PENDING_DIALS_LEAST ? most : LIMIT_PENDING_DIALS_LEAST);
}

static void on_dialled(void *user, struct dial_result *result);

static void dial(struct forward *f)
{
	struct fault why = { 0 };
	const struct dial_options options = { .host = f->host,
					      .port = f->port,
					      .timeout_ns = LIMIT_NS(DIAL),
					      .stale_ns = LIMIT_NS(STALE_NAME) };

	if (dial_start(&f->dial, f->set->loop, &options, on_dialled, f, &why) < 0) {
		f->dial = NULL;
		refuse(f, SSH_OPEN_RESOURCE_SHORTAGE, &why);
		return;
	}
	f->set->dials[f->index]++;
}

static void end_waiting(struct forward *f)
{
	timer_clear(f->set->loop, &f->patience);
	f->set->waiting[f->index]--;
}

/* The one that has waited longest for a dial; NULL for none. */
static struct forward *oldest_waiting(const struct forward_set *set, unsigned index)
{
	struct forward *oldest = NULL;

	for (struct forward *f = set->first; f; f = f->next)
		if (f->index == index && f->patience.at_ns)
			oldest = f;
	return oldest;
}

/* A dial of this forward has ended: the next, by age. */
static void dial_next(struct forward_set *set, unsigned index)
{
	struct forward *f;

	while (channels_exist(&set->channels) && may_dial(set, index) &&
	       (f = oldest_waiting(set, index))) {
		end_waiting(f);
		dial(f);
	}
}

static void on_dialled(void *user, struct dial_result *result)
{
	struct forward *f = user;
	struct forward_set *set = f->set;
	const unsigned index = f->index;

	f->dial = NULL;
	set->dials[index]--;
	if (result->fd < 0)
		refuse(f, SSH_OPEN_CONNECT_FAILED, &result->why);
	else
		serve(f, result);
	dial_next(set, index);
}

static void on_impatient(struct timer *t)
{
	struct forward *f = owner_of(t, struct forward, patience);
	struct forward_set *set = f->set;
	const uint32_t channel = f->channel;
	const unsigned index = f->index;

	f->set->waiting[index]--;
	channels_set_user(&set->channels, channel, NULL);
	refuse_surplus(set, channel, index, BUS_REFUSAL_BUSY);
	note_failure(set, index);
	destroy(f);
	channels_flush(&set->channels);
}

static void wait_for_turn(struct forward *f)
{
	f->patience.fire = on_impatient;
	f->set->waiting[f->index]++;
	timer_set(f->set->loop, &f->patience, loop_now(f->set->loop) + LIMIT_NS(DIAL));
}

void forward_start(struct forward_set *set, uint32_t channel, const struct forward_target *to)
{
	if (is_failing(set, to->index)) {
		refuse_surplus(set, channel, to->index, BUS_REFUSAL_FAILING);
		return;
	}
	const bool may = !set->waiting[to->index] && may_dial(set, to->index);
	if (!has_room(set, to->index) || (!may && set->waiting[to->index] >= LIMIT_WAITING_DIALS)) {
		refuse_surplus(set, channel, to->index, BUS_REFUSAL_BUSY);
		return;
	}
	struct share share;
	if (!windows_share(set->windows, &share, set->channels.own_windows)) {
		refuse_surplus(set, channel, to->index, BUS_REFUSAL_MEMORY);
		return;
	}
	struct forward *f = mem_alloc_zeroed(&mem_heap, sizeof(*f));
	if (!f) {
		windows_give_back(set->windows, &share);
		channels_reject(&set->channels, channel, SSH_OPEN_RESOURCE_SHORTAGE, "no memory");
		publish_dial_failed(set->publish, to->index);
		return;
	}
	f->set = set;
	f->share = share;
	f->channel = channel;
	f->index = to->index;
	f->port = to->port;
	f->moved_ns = loop_now(set->loop);
	f->host = to->host;
	f->next = set->first;
	if (f->next)
		f->next->prev = f;
	set->first = f;
	set->n++;
	set->open[f->index]++;
	channels_set_user(&set->channels, channel, f);

	if (may)
		dial(f);
	else
		wait_for_turn(f);
}

/* The peer took its open back before the dial was done. */
static void leave_early(struct forward *f)
{
	struct forward_set *set = f->set;

	if (f->patience.at_ns) {
		end_waiting(f);
	} else {
		dial_cancel(f->dial);
		set->dials[f->index]--;
	}
	destroy(f);
}

static void on_closed_early(struct forward *f)
{
	struct forward_set *set = f->set;
	const unsigned index = f->index;

	leave_early(f);
	dial_next(set, index);
}

void forward_on_event(struct forward *f, const struct ssh_event *ev)
{
	if (ev->kind == SSH_EVENT_CHANNEL_EOF || ev->kind == SSH_EVENT_CHANNEL_CLOSED)
		windows_end(f->set->windows, &f->share);
	if (!f->pipe) {
		if (ev->kind == SSH_EVENT_CHANNEL_CLOSED) {
			note_failure(f->set, f->index);
			on_closed_early(f);
		}
		return;
	}
	if (ev->kind == SSH_EVENT_CHANNEL_DATA)
		channel_pipe_on_data(f->pipe, ev->payload);
	else if (ev->kind == SSH_EVENT_CHANNEL_WRITABLE)
		channel_pipe_on_writable(f->pipe);
	else if (ev->kind == SSH_EVENT_CHANNEL_EOF)
		channel_pipe_on_eof(f->pipe);
	else if (ev->kind == SSH_EVENT_CHANNEL_CLOSED)
		channel_pipe_on_closed(f->pipe);
}

void forward_cut(struct forward *f)
{
	if (!f->pipe)
		return; /* closed before the dial is done: CHANNEL_CLOSED says so */
	windows_end(f->set->windows, &f->share);
	channels_set_user(&f->set->channels, f->channel, NULL);
	channel_pipe_abort(f->pipe);
}

/* It ends in good order: what its service still sends has no reader any more. */
static void end(struct forward *f)
{
	struct forward_set *set = f->set;

	if (f->pipe) {
		channel_pipe_end(f->pipe);
		return;
	}
	channels_set_user(&set->channels, f->channel, NULL);
	channels_reject(&set->channels, f->channel, SSH_OPEN_RESOURCE_SHORTAGE, "draining");
	publish_channel_rejected(set->publish, BUS_REFUSAL_DRAINING);
	leave_early(f);
}

size_t forward_set_end_silent(struct forward_set *set, uint64_t since_ns, uint64_t *oldest_ns)
{
	size_t n = 0;

	*oldest_ns = UINT64_MAX;
	for (struct forward *f = set->first, *next; f; f = next) {
		next = f->next;
		if (f->is_ending)
			continue;
		if (f->moved_ns > since_ns) {
			*oldest_ns = min_u64(*oldest_ns, f->moved_ns);
			continue;
		}
		f->is_ending = true;
		n++;
		end(f);
	}
	return n;
}

void forward_set_abort(struct forward_set *set)
{
	set->channels = (struct channels){ 0 };
	for (struct forward *f = set->first, *next; f; f = next) {
		next = f->next;
		windows_end(set->windows, &f->share);
		if (f->pipe)
			channel_pipe_abort(f->pipe);
		else
			on_closed_early(f);
	}
	windows_rest(set->windows);
}

/* There may be room again for channels whose windows could not be opened. */
static void on_retry(void *user)
{
	struct forward_set *set = user;

	for (struct forward *f = set->first; f; f = f->next) {
		const uint32_t more = f->share.starved ? windows_retry(set->windows, &f->share) : 0;

		if (more)
			channels_grow(&set->channels, f->channel, more);
	}
	channels_flush(&set->channels);
}

void forward_set_share_out(struct forward_set *set, const uint16_t *forwards, size_t n, size_t room)
{
	must(n <= FORWARD_INDEX_MAX && room <= FORWARDS_MAX);
	memcpy(set->forwards, forwards, n * sizeof(*forwards));
	set->forwards_n = n;
	set->room = room;
}

void forward_set_init(struct forward_set *set)
{
	set->room = FORWARDS_MAX;
	set->retry = (struct windows_user){ .retry = on_retry, .user = set };
	windows_join(set->windows, &set->retry);
}

void forward_set_fini(struct forward_set *set)
{
	windows_leave(set->windows, &set->retry);
}
