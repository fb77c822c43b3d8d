/*
 * A SIGBUS inside a guarded map becomes zero pages and an error; any other ends the
 * process as it would have.
 */
#include "shm/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

/* Touched by the handler of the same thread only. */
static _Thread_local struct {
	volatile uintptr_t base;
	volatile size_t len; /* 0: not inside a guard */
	volatile sig_atomic_t hit;
} guard;

static struct sigaction before;
static int install_errno;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)context;
	const uintptr_t at = (uintptr_t)info->si_addr;
	const uintptr_t base = guard.base;
	const size_t len = guard.len;
	const int saved = errno;

	if (len > 0 && at >= base && at - base < len &&
	    mmap((void *)base, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		    MAP_FAILED) {
		guard.hit = 1;
		errno = saved;
		return;
	}
	/* not ours: the load is repeated under the old handler, which ends us as
	 * it would have without a guard */
	sigaction(SIGBUS, &before, NULL);
	if (info->si_code <= 0) /* sent, not caused: nothing would repeat it */
		raise(sig);
	errno = saved;
}

static void install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus,
				    .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &before))
		install_errno = errno;
}

int bus_guard_install(struct fault *why)
{
	pthread_once(&once, install);
	return install_errno ? fault_set_sys(why, install_errno, "install the SIGBUS guard") : 0;
}

void bus_guard_enter(const void *base, size_t len)
{
	must(guard.len == 0);
	guard.hit = 0;
	guard.base = (uintptr_t)base;
	guard.len = len;
	atomic_signal_fence(memory_order_seq_cst);
}

bool bus_guard_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	guard.len = 0;
	return guard.hit;
}
