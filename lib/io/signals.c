/*
 * signals -- process signals as calls from the loop, by a signalfd. The program
 * decides what a signal means.
 */
#include "lib/io/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
	int fd;
	struct watch *watch;
	signals_fn *on_signal;
	void *user;
};

/* One per call, as on_signal may free s; with more waiting we are called again. */
static void on_ready(void *user)
{
	const struct signals *s = user;
	struct signalfd_siginfo info;

	if (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		s->on_signal(s->user, (int)info.ssi_signo);
}

int signals_new(struct signals **out, struct loop *l, signals_fn *on_signal, void *user,
		struct fault *why)
{
	sigset_t set;

	*out = NULL;
	struct signals *s = calloc(1, sizeof(*s));
	if (!s)
		return fault_set(why, ERR_NOMEM, "no memory for signals");
	s->on_signal = on_signal;
	s->user = user;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	signal(SIGPIPE, SIG_IGN);
	int rc;
	const int sys = pthread_sigmask(SIG_BLOCK, &set, NULL);
	s->fd = sys ? -1 : signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->fd < 0) {
		rc = fault_set_sys(why, sys ? sys : errno, "signalfd");
		goto fail;
	}
	rc = watch_new(&s->watch, l, s->fd, on_ready, s, why);
	if (rc < 0)
		goto fail;
	*out = s;
	return 0;
fail:
	signals_free(s);
	return rc;
}

void signals_free(struct signals *s)
{
	if (!s)
		return;
	watch_close(s->watch);
	if (s->fd >= 0)
		close(s->fd);
	/* They stay blocked: one that comes between here and exit must not kill
	 * the process in the middle of its shutdown. */
	free(s);
}
