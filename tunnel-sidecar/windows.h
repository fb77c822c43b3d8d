/*
 * windows -- the budget of receive windows (budget.h) in this process: follows the
 * container's memory limit, says on the bus what is granted, and gives channels
 * that found no room another try.  One for all sessions of the program: the memory is
 * the container's, whoever uses it.
 */
#ifndef TUNNEL_SIDECAR_WINDOWS_H
#define TUNNEL_SIDECAR_WINDOWS_H

#include "lib/io/cgroup.h"
#include "lib/io/loop/loop.h"
#include "tunnel-sidecar/budget.h"
#include "tunnel-sidecar/publish.h"

/* A session that has shares; the caller's storage. */
struct windows_user {
	void (*retry)(void *user); /* shares are starved, and there may be room */
	void *user;
	struct windows_user *next;
};

struct windows {
	struct loop *loop;
	struct publish *publish;
	struct budget budget;
	struct cgroup cgroup;
	struct timer timer; /* runs while a share is open */
	uint64_t looked_ns;
	uint64_t growths_said;
	size_t open_n; /* shares that are open */
	struct windows_user *users;
};

void windows_init(struct windows *w, struct loop *l, struct publish *p);
void windows_fini(struct windows *w); /* the loop may be gone; accepts zeros */
void windows_join(struct windows *w, struct windows_user *u);
void windows_leave(struct windows *w, struct windows_user *u);

/* One session has ended its shares: when no other has one open, no timer is left behind. */
void windows_rest(struct windows *w);

/* As in budget.h, with everything above done. */
MUST_USE bool windows_share(struct windows *w, struct share *s, bool foreign);
void windows_received(struct windows *w, struct share *s, size_t n);
MUST_USE uint32_t windows_passed(struct windows *w, struct share *s, size_t n);
MUST_USE uint32_t windows_retry(struct windows *w, struct share *s);
void windows_end(struct windows *w, struct share *s);
void windows_give_back(struct windows *w, struct share *s);

#endif
