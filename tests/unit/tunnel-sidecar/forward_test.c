/*
 * Forwards on a loop and a link that the test holds in its hands: who may have how much,
 * who waits, and every way in which one leaves.
 */
#include "tunnel-sidecar/forward.h"

#include <errno.h>

#include "lib/app/log.h"
#include "lib/base/limits.h"
#include "tests/support/cases.h"
#include "tests/support/fakes/fake_loop.h"

#define MS 1000000ull

/* ---- a link that notes what is asked of it ---- */

enum { CHANNELS = FORWARDS_MAX + 64 };

static struct {
	void *user[CHANNELS];
	char state[CHANNELS]; /* '-' new, 'o' accepted, 'r' rejected, 'c' closed by us */
	size_t rejected, accepted, closed, grown;
	bool unsent; /* driven, and not flushed: only the link's own events end so */
} fake;

static void note(uint32_t channel, char state, size_t *count)
{
	fake.state[channel] = state;
	fake.unsent = true;
	++*count;
}

static void accept_one(void *link, uint32_t c)
{
	(void)link;
	note(c, 'o', &fake.accepted);
}

static void reject_one(void *link, uint32_t c, enum ssh_open_failure code, const char *text)
{
	(void)link;
	(void)code;
	(void)text;
	note(c, 'r', &fake.rejected);
}

static void close_one(void *link, uint32_t c)
{
	(void)link;
	note(c, 'c', &fake.closed);
}

static size_t writable(void *link, uint32_t c)
{
	(void)link;
	return fake.state[c] == 'o' ? 1000 : 0;
}

static int write_some(void *link, uint32_t c, const uint8_t *p, size_t n)
{
	(void)link;
	(void)c;
	(void)p;
	fake.unsent = true;
	return (int)min_size(n, 1000);
}

static void nothing(void *link, uint32_t c)
{
	(void)link;
	(void)c;
}

static void shut(void *link, uint32_t c)
{
	(void)link;
	(void)c;
	fake.unsent = true;
}

static void flush(void *link)
{
	(void)link;
	fake.unsent = false;
}

static void grow(void *link, uint32_t c, uint32_t more)
{
	(void)link;
	(void)c;
	fake.unsent = true;
	fake.grown += more;
}

static void credit(void *link, uint32_t c, size_t n)
{
	(void)link;
	(void)c;
	(void)n;
	fake.unsent = true;
}

static void set_user(void *link, uint32_t c, void *user)
{
	(void)link;
	fake.user[c] = user;
}

static void *user_of(void *link, uint32_t c)
{
	(void)link;
	return fake.user[c];
}

static const struct channels_ops ops = {
	.accept = accept_one, .reject = reject_one, .writable = writable, .write = write_some,
	.want_write = nothing, .pass = nothing, .grow = grow, .credit = credit, .eof = shut,
	.close = close_one, .set_user = set_user, .user = user_of,
	.flush = flush,
};

/* ---- the set ---- */

static struct forward_set set;
static struct windows windows;
static struct publish *publish;
static uint32_t next;
static unsigned stride; /* of the indexes: not all that there may be are this session's */
static size_t began, left;

static void on_left(void *user)
{
	(void)user;
	left++;
}

static void pass_time(uint64_t ns)
{
	fake_pass(ns);
	check(!fake.unsent);
}

static void init(size_t forwards, size_t room)
{
	uint16_t index[FORWARD_INDEX_MAX];

	stride = forwards > FORWARD_INDEX_MAX / 2 ? 1 : 2;
	for (size_t i = 0; i < forwards; i++)
		index[i] = (uint16_t)(i * stride);
	memset(&fake, 0, sizeof(fake));
	next = 0;
	began = left = 0;
	windows_init(&windows, fake_loop(), publish);
	set = (struct forward_set){ .loop = fake_loop(), .publish = publish, .windows = &windows,
				    .left = on_left };
	forward_set_init(&set);
	set.channels = (struct channels){ .ops = &ops };
	forward_set_share_out(&set, index, forwards, room);
}

static void fini(void)
{
	check(!fake.unsent);
	forward_set_abort(&set);
	fake_reap();
	check(left == began);
	check(set.n == 0 && fake_dials() == 0 && fake_socks() == 0);
	check(fake_timers() == 1); /* the beat of the bus */
	for (size_t i = 0; i < FORWARD_INDEX_MAX; i++)
		check(!set.open[i] && !set.dials[i] && !set.waiting[i]);
	forward_set_fini(&set);
	windows_fini(&windows);
}

static uint32_t open_one(unsigned index)
{
	const size_t all = set.n + left;

	must(next < CHANNELS);
	fake.state[next] = '-';
	forward_start(&set, next, &(struct forward_target){ index, "svc", (uint16_t)(80 + index) });
	began += set.n + left - all;
	flush(NULL);
	return next++;
}

static void open_many(unsigned index, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)open_one(index);
}

/* The oldest dial to that forward's service comes about, or fails. */
static void dial_ends(unsigned index, int sys)
{
	for (size_t i = 0; i < fake_dials(); i++)
		if (fake_dial_port(i) == 80 + index) {
			fake_dial_end(i, sys);
			check(!fake.unsent);
			return;
		}
	must(!"there is such a dial");
}

static void say(uint32_t channel, enum ssh_event_kind kind)
{
	if (fake.user[channel])
		forward_on_event(fake.user[channel],
				 &(struct ssh_event){ .kind = kind, .channel = channel });
	flush(NULL);
}

/* ---- dials ---- */

static void test_dials_are_shared_out(void)
{
	static const struct {
		size_t forwards, dials;
	} rows[] = { { 1, 64 }, { 2, 32 }, { 3, 21 }, { 8, 8 }, { 9, 8 }, { 16, 8 } };

	for (size_t i = 0; i < array_len(rows); i++) {
		init(rows[i].forwards, FORWARDS_MAX);
		open_many(0, 300);
		check_row("dials", set.dials[0] == rows[i].dials && fake_dials() == rows[i].dials);
		check_row("waiting", set.waiting[0] == LIMIT_WAITING_DIALS);
		check_row("refused", fake.rejected == 300 - rows[i].dials - LIMIT_WAITING_DIALS);
		for (unsigned j = 1; j < rows[i].forwards; j++) { /* each other dials at once */
			open_many(stride * j, 8);
			check_row("others", set.dials[stride * j] == 8 && !set.waiting[stride * j]);
		}
		fini();
	}
}

/* The oldest goes first, and only when one of its own forward is done. */
static void test_turns(void)
{
	init(8, FORWARDS_MAX);
	open_many(0, 12);
	open_many(2, 2);
	check(set.waiting[0] == 4 && fake.accepted == 0);
	dial_ends(2, 0);
	check(set.waiting[0] == 4);
	dial_ends(0, 0); /* comes about */
	check(set.waiting[0] == 3 && set.dials[0] == 8 && fake.state[0] == 'o');
	dial_ends(0, ECONNREFUSED);
	check(set.waiting[0] == 2 && set.dials[0] == 8 && fake.state[1] == 'r');
	say(2, SSH_EVENT_CHANNEL_CLOSED); /* the peer takes a dial back … */
	check(set.waiting[0] == 1 && set.dials[0] == 8 && fake.state[2] == '-');
	say(11, SSH_EVENT_CHANNEL_CLOSED); /* … and one that waits */
	check(set.waiting[0] == 0 && set.dials[0] == 8);
	dial_ends(0, 0);
	check(set.dials[0] == 7);
	fini();
}

static void test_patience(void)
{
	init(8, FORWARDS_MAX);
	open_many(0, 10);
	pass_time(LIMIT_NS(DIAL) - 1);
	check(set.waiting[0] == 2 && fake.rejected == 0);
	pass_time(1);
	check(set.waiting[0] == 0 && fake.rejected == 2 && fake.state[9] == 'r' && set.n == 8);
	fini();
}

/* ---- channels ---- */

static void test_room(void)
{
	static const struct {
		const char *name;
		size_t forwards, room, first, reserve;
	} rows[] = {
		{ "one has all", 1, 2048, 2048, 0 },
		{ "two", 2, 2048, 2048 - 64, 64 },
		{ "three", 3, 2048, 2048 - 128, 64 },
		{ "sixteen", 16, 2048, 2048 - 15 * 64, 64 },
		{ "a link with less", 3, 256, 128, 64 },
		{ "and more of them", 8, 256, 256 - 7 * 28, 28 },
		{ "as many as there may be", 512, 2048, 2048 - 511 * 3, 3 },
		{ "more than a link has channels", 512, 256, 256, 0 },
	};
	for (size_t i = 0; i < array_len(rows); i++) {
		init(rows[i].forwards, rows[i].room);
		for (size_t j = 0; j < rows[i].room + 8; j++) {
			(void)open_one(0);
			if (fake_dials())
				dial_ends(0, 0);
		}
		check_row(rows[i].name, set.open[0] == rows[i].first);
		check_row(rows[i].name, fake.rejected == rows[i].room + 8 - rows[i].first);
		/* Two that take all they can leave the others theirs. */
		for (unsigned j = 1; j < rows[i].forwards; j++)
			for (size_t k = 0; k < rows[i].reserve; k++) {
				if (next == CHANNELS)
					next = 0; /* numbers are not looked at here */
				set_user(NULL, next, NULL);
				(void)open_one(stride * j);
				dial_ends(stride * j, 0);
			}
		for (unsigned j = 1; j < rows[i].forwards; j++)
			check_row(rows[i].name, set.open[stride * j] == rows[i].reserve);
		check_row(rows[i].name, set.n == rows[i].room);
		const size_t refused = fake.rejected;
		(void)open_one(0);
		check_row(rows[i].name, fake.rejected == refused + 1);
		fini();
	}
}

/* ---- failures ---- */

static void test_failing(void)
{
	init(2, FORWARDS_MAX);
	for (int i = 0; i < LIMIT_FAILED_OPENS + 1; i++) {
		(void)open_one(0);
		dial_ends(0, ECONNREFUSED);
	}
	const size_t before = fake.rejected;
	(void)open_one(0);
	check(fake.rejected == before + 1 && fake_dials() == 0); /* refused undialled */
	(void)open_one(2);
	check(fake_dials() == 1); /* the other serves */
	pass_time(1000 * MS);
	(void)open_one(0);
	check(fake_dials() == 2);
	fini();
}

/* A channel that is cut, one whose service resets, one that both sides end. */
static void test_ends(void)
{
	init(1, FORWARDS_MAX);
	for (int i = 0; i < 3; i++) {
		(void)open_one(0);
		dial_ends(0, 0);
	}
	check(set.n == 3 && fake_socks() == 3);
	forward_cut(fake.user[0]);
	fake_fail(fake_sock(1), ECONNRESET);
	check(fake.state[1] == 'c' && !fake.unsent);
	say(1, SSH_EVENT_CHANNEL_CLOSED);
	fake_reap();
	check(set.n == 1 && fake_socks() == 1);
	say(2, SSH_EVENT_CHANNEL_EOF);
	check(fake_give(fake_sock(0), NULL, 0) == 0 && !fake.unsent);
	fake_reap();
	check(fake.state[2] == 'c' && set.n == 1);
	say(2, SSH_EVENT_CHANNEL_WRITABLE);
	say(2, SSH_EVENT_CHANNEL_CLOSED);
	check(set.n == 0);
	(void)open_one(0);
	forward_cut(fake.user[3]); /* too early: CHANNEL_CLOSED will say so */
	check(set.n == 1);
	fini();
}

/* A link with windows of its own: nothing is granted, and memory is still a reason. */
static void test_own_windows(void)
{
	init(1, FORWARDS_MAX);
	set.channels.own_windows = true;
	(void)open_one(0);
	dial_ends(0, 0);
	check(fake.accepted == 1 && fake.grown == 0);
	windows.budget.limit = 0;
	(void)open_one(0);
	check(fake.state[1] == 'r' && set.n == 1);
	fini();
}

/* What can't be tried is refused at once, and gives all back. */
static void test_no_memory(void)
{
	init(1, FORWARDS_MAX);
	fake_dials_are(true, false);
	(void)open_one(0);
	check(fake.state[0] == 'r' && set.n == 0);
	fake_dials_are(false, false);
	windows.budget.limit = 0;
	(void)open_one(0);
	check(fake.state[1] == 'r' && set.n == 0 && fake_dials() == 0);
	fini();
}

/* A channel that finds no room for a larger window is given it once there is. */
static void test_starved(void)
{
	static uint8_t data[BUDGET_START];

	init(1, FORWARDS_MAX);
	(void)open_one(0);
	dial_ends(0, 0);
	check(fake.grown > 0);
	const size_t first = fake.grown;
	windows.budget.limit = 1000;
	for (int i = 0; i < 4; i++) {
		forward_on_event(fake.user[0],
				 &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_DATA,
						      .payload = { data, first / 4 } });
		fake_take(fake_sock(0));
		check(!fake.unsent);
	}
	check(fake.grown == first && windows.budget.starved_n == 1);
	pass_time(1001 * MS); /* the limit is read again: there is room */
	check(fake.grown > first && windows.budget.starved_n == 0);
	fini();
}

/* ---- draining ---- */

static void test_silent_ones_end(void)
{
	uint8_t byte = 1;
	uint64_t oldest;

	init(8, FORWARDS_MAX);
	for (int i = 0; i < 3; i++) {
		(void)open_one(0);
		dial_ends(0, 0);
	}
	(void)open_many(2, 10); /* eight are dialling, two wait */
	pass_time(1500 * MS);
	check(fake_give(fake_sock(0), &byte, 1) == 1 && !fake.unsent); /* from the service … */
	forward_on_event(fake.user[1],
			 &(struct ssh_event){ .kind = SSH_EVENT_CHANNEL_DATA, .channel = 1,
					      .payload = { &byte, 1 } }); /* … and to it */
	const uint64_t moved = loop_now(fake_loop());
	pass_time(500 * MS);
	check(forward_set_end_silent(&set, loop_now(fake_loop()) - 2000 * MS, &oldest) == 11);
	flush(NULL); /* its caller */
	check(oldest == moved);
	check(fake.state[0] == 'o' && fake.state[1] == 'o' && fake.state[2] == 'c');
	check(fake.rejected == 10 && fake_dials() == 0 && set.n == 3);
	/* It leaves when the peer has closed, and is not asked twice. */
	check(forward_set_end_silent(&set, loop_now(fake_loop()) - 2000 * MS, &oldest) == 0);
	say(2, SSH_EVENT_CHANNEL_CLOSED);
	fake_reap();
	check(set.n == 2);
	pass_time(1500 * MS);
	check(forward_set_end_silent(&set, loop_now(fake_loop()) - 2000 * MS, &oldest) == 2);
	flush(NULL); /* its caller */
	check(oldest == UINT64_MAX);
	fini();
}

int main(void)
{
	static const char *const names[BUS_FORWARDS_MAX] = {
		"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p",
		"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P",
	};
	static const struct test_case cases[] = {
		{ "dials are shared out", test_dials_are_shared_out },
		{ "turns", test_turns },
		{ "patience", test_patience },
		{ "room", test_room },
		{ "failing", test_failing },
		{ "ends", test_ends },
		{ "own windows", test_own_windows },
		{ "no memory", test_no_memory },
		{ "starved", test_starved },
		{ "silent ones end", test_silent_ones_end },
	};
	log_start(&(struct log_options){ .component = "unit", .level = LOG_ERROR, .fd = 2 });
	must(publish_new(&publish, fake_loop(),
			 &(struct publish_options){ .forwards = names,
						    .forwards_n = BUS_FORWARDS_MAX },
			 NULL) == 0);
	return run_cases("forward", cases, array_len(cases));
}
