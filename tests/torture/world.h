/*
 * world -- what stands around a tortured tunnel, in a thread of its own in which
 * nothing fails but by world_fail(): a gateway, a local service that gives back what it gets, and a
 * visitor who looks whether it does.
 */
#ifndef TESTS_TORTURE_WORLD_H
#define TESTS_TORTURE_WORLD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/torture/fail.h"

struct world;

enum visit {
	VISIT_UNDER_WAY,
	VISIT_WHOLE,  /* every byte came back, then the end */
	VISIT_CUT,    /* refused, or ended early */
	VISIT_WRONG,  /* another byte came back than was sent */
};

struct world *world_new(void);
void world_free(struct world *w);

uint16_t world_gateway_port(const struct world *w);
uint16_t world_service_port(const struct world *w);
uint16_t world_door_port(const struct world *w); /* free, for the forward */
SSL_CTX *world_client_ctx(struct world *w);

void world_visit(struct world *w); /* one at a time */
enum visit world_visited(const struct world *w);
/* The plan is the world's own, from soon on; FAIL_NOTHING ends it. */
void world_fail(struct world *w, const struct fail_plan *plan);
bool world_has_failed(const struct world *w);
/* Nobody is connected to anything. */
bool world_is_quiet(const struct world *w);

#endif
