# make             the three programs, into build/release/bin/
# make demo        the whole pod on this machine, bytes through the tunnel, until Ctrl-C
# make demo-check  the same, ends with the verdict
# make test        everything: unit, fuzz seconds, sanitizers, both compilers, end to end
# make check       layers, exports, house rules, every unit test, the generated pages of docs/
# make e2e         the real programs against real peers
# make fuzz        each fuzz target for FUZZ_SECONDS (default 5)
# make fuzz-long   each, or those of FUZZ, for FUZZ_SECONDS (default 600), JOBS at a time; what is
#                  learnt is kept in tests/fuzz/corpus
# make cover       which lines of lib/proto the tests run; fails below COVER (default 95) per cent
# make model       explores the models of the bus with SPIN, and their mutants, which must fail
# make layers      proves the floors of lib/ and that lib/proto is sans-I/O
# make lint        clang-tidy, cppcheck, house rules
# make bench       the baseline figures, beside the official client where CHISEL_BIN has it
# make soak        100,000 connections, 1 GiB streams, a minute of chaos; prints what grew
# make bench-outage  how late outages are found and how soon they are over, beside the official client
# make bench-evil  4 GiB and a byte through one channel, 10,000 re-keys, floods: as figures
# make bench-flow  a thousand stopped readers in 64 MiB, and a request beside them
# make bench-bus   what counting, publishing and reading the bus costs
# make torture     a tunnel in which each allocation, system call and completion fails in turn; then
#                  100,000 writers of the bus killed before the eyes of a reader (TORTURE=N)
# make docs        writes the generated pages of docs/
# make deps        installs what the build and the tests need (Debian, Ubuntu)
# make clean       removes build/
# make help        this text          MODE=release|asan|tsan|fuzz|cover   V=1 shows commands
MODE ?= release
CC   := $(if $(filter default,$(origin CC)),gcc,$(CC))
OUT  := build/$(MODE)
ifeq ($(REVISION),)
  REVISION := $(or $(shell git rev-parse --short=12 HEAD 2>/dev/null),unknown)
endif

# What this compiler has of them; asked once, build/hardening keeps the answers by compiler.
ifeq ($(MODE),release)
  HARDENING := $(shell sed -n 's|^$(CC): ||p' build/hardening 2>/dev/null)
  ifeq ($(HARDENING),)
    HARDENING := $(shell mkdir -p build; scripts/hardening "$(CC)" | sed 's|^|$(CC): |' >>build/hardening; \
	sed -n 's|^$(CC): ||p' build/hardening)
  endif
endif
CFLAGS.release := -O2 -g $(HARDENING)
CFLAGS.asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS.tsan    := -O1 -g -fsanitize=thread
CFLAGS.fuzz  := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS.cover   := -O0 -g --coverage
# must(!"text") is an idiom here, and snprintf may cut.  Sanitizers make gcc warn of paths that are none.
WARN     := -Wall -Wextra -Wshadow -Wconversion -Wswitch-enum -Wpointer-arith -Wvla \
	$(if $(findstring clang,$(CC)),-Wno-string-conversion,-Wno-format-truncation) $(if $(CI),$(if $(filter release,$(MODE)),-Werror))
PACKAGES := libnghttp2 openssl libssh2 json-c yaml-0.1 liburing zlib
ALL_CFLAGS = $(CFLAGS.$(MODE)) $(CFLAGS) -std=gnu17 -D_GNU_SOURCE -I. -MMD -MP -fPIE $(WARN) $(PKG_CFLAGS)
# The C library's start files may lack the note that the compiler writes into ours.
ALL_LDFLAGS = $(CFLAGS.$(MODE)) $(LDFLAGS) -pie -Wl,-z,relro,-z,now,--as-needed -pthread \
	$(if $(findstring -fcf-protection,$(HARDENING)),-Wl$(comma)-z$(comma)ibt$(comma)-z$(comma)shstk)

# A missing package is one sentence, not a compiler error.
NO_BUILD := help clean deps
ifneq ($(filter-out $(NO_BUILD) demo demo-check test,$(or $(MAKECMDGOALS),all)),)
  MISSING := $(shell scripts/missing-packages $(PACKAGES))
  ifneq ($(MISSING),)
    $(error $(MISSING))
  endif
  PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
  LDLIBS := $(shell pkg-config --libs $(PACKAGES)) -lm
  # Written only when it changes: what depends on it is made again then.
  $(shell mkdir -p $(OUT); [ "$$(cat $(OUT)/revision 2>/dev/null)" = $(REVISION) ] || echo $(REVISION) >$(OUT)/revision)
endif

comma   := ,
sources = $(foreach d,$(1),$(wildcard $(d)/*.c $(d)/*/*.c))
objects = $(patsubst %.c,$(OUT)/%.o,$(call sources,$(1)))
SHARED   := $(OUT)/shared.a
PROGRAMS := $(addprefix $(OUT)/bin/,tunnel-sidecar control-agent status-server)
UNIT     := $(patsubst %.c,$(OUT)/bin/%,$(shell find tests/unit tests/sim -name '*_test.c' 2>/dev/null))
FUZZERS  := $(patsubst %.c,$(OUT)/bin/%,$(wildcard tests/fuzz/*_fuzz.c))
INTEROP  := $(OUT)/bin/ssh-driver $(OUT)/bin/libssh2-client
SUPPORT  := $(OUT)/support.a

all: $(PROGRAMS)

$(SHARED): $(call objects,lib/base lib/proto lib/io lib/http lib/app shm)
# A fake stands in for a part of lib: only the tests that name it link it.
$(SUPPORT): $(filter-out $(OUT)/tests/support/fakes/%,$(call objects,tests/support))
$(OUT)/bin/tunnel-sidecar: $(call objects,tunnel-sidecar) $(SHARED)
$(OUT)/bin/control-agent:  $(call objects,control-agent)  $(SHARED)
$(OUT)/bin/status-server:  $(call objects,status-server)  $(SHARED)
$(OUT)/bin/devplane:       $(call objects,tests/devplane) $(SHARED)
$(OUT)/bin/bench-bus:      $(OUT)/tests/bench/bus.o $(OUT)/status-server.a $(SHARED)
$(OUT)/bin/ssh-driver:     $(OUT)/tests/interop/ssh_driver.o $(SHARED)
$(OUT)/bin/print-docs:     $(OUT)/tests/docs/print_docs.o $(OUT)/status-server.a $(SHARED)
$(OUT)/bin/libssh2-client: $(OUT)/tests/interop/libssh2_client.o
# The calls that tests/torture/fail.def names, and those of fail.c and fail_uring.c, go there.
WRAPPED  := $(shell sed -n 's/^FAIL.\([a-z0-9_]*\).*/\1/p' tests/torture/fail.def) malloc calloc realloc connect epoll_ctl recv sendmsg \
	getaddrinfo ioctl mmap openat posix_fallocate pthread_create $(addprefix io_uring_,submit submit_and_get_events \
	submit_and_wait submit_and_wait_timeout queue_init_params register_buf_ring)
$(OUT)/bin/session-torture: $(call objects,tests/torture) $(SUPPORT) $(OUT)/devplane.a $(OUT)/tunnel-sidecar.a $(SHARED)
$(OUT)/bin/session-torture: LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(WRAPPED))
$(UNIT) $(FUZZERS): $(OUT)/bin/%: $(OUT)/%.o $(SUPPORT) $(SHARED)
# Without libFuzzer they run the inputs that are named.
ifeq ($(MODE),fuzz)
$(FUZZERS): LDFLAGS += -fsanitize=fuzzer
else
$(FUZZERS): $(OUT)/tests/fuzz/replay.o
endif

# Preloaded into a program by the sandbox's test; without a sanitizer's own calls.
$(OUT)/attack.so: tests/attack/attack.c
	@mkdir -p $(@D) && echo "  SO    $@"
	$(Q)$(CC) -O1 -g -std=gnu17 -D_GNU_SOURCE $(WARN) -fPIC -shared -o $@ $< -ldl -pthread -luring

# A program's parts, for its own tests: its folder without main.c.
define parts
$(OUT)/$(notdir $(1)).a: $(filter-out %/main.o,$(call objects,$(1)))
$(filter $(OUT)/bin/tests/unit/$(notdir $(1))/%,$(UNIT)): $(OUT)/$(notdir $(1)).a
endef
$(foreach p,tunnel-sidecar control-agent status-server tests/devplane,$(eval $(call parts,$(p))))
$(patsubst %,$(OUT)/bin/tests/fuzz/%_fuzz,register_answer tunnel_answer state_file): $(OUT)/control-agent.a
$(OUT)/bin/tests/fuzz/tunnel_session_fuzz $(addprefix $(OUT)/bin/tests/,sim/session_test \
	unit/tunnel-sidecar/session_test unit/tunnel-sidecar/forward_test): \
	$(OUT)/tests/support/fakes/fake_loop.o $(OUT)/tests/sim/plain_server.o $(OUT)/tunnel-sidecar.a
$(addprefix $(OUT)/bin/tests/unit/control-agent/,plane/control_plane_test tunnel/tunnel_poll_test): \
	$(addprefix $(OUT)/tests/support/fakes/,fake_loop.o fake_http_client.o)
$(OUT)/bin/tests/fuzz/http_client_fuzz: $(OUT)/tests/support/fakes/fake_loop.o
$(OUT)/bin/tests/fuzz/metrics_render_fuzz $(OUT)/bin/tests/fuzz/bus_dump_fuzz: $(OUT)/status-server.a

$(OUT)/%.a:
	@mkdir -p $(@D) && rm -f $@
	$(Q)$(AR) rcs $@ $^
$(OUT)/bin/%:
	@mkdir -p $(@D) && echo "  LD    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(if $(findstring /tests/,$@),-lcunit) $(LDLIBS)
$(OUT)/%.o: %.c
	@mkdir -p $(@D) && echo "  CC    $<"
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Made again when the checkout has moved on.
$(OUT)/lib/app/version.o: ALL_CFLAGS += -DREVISION='"$(REVISION)"'
$(OUT)/lib/app/version.o: $(OUT)/revision
$(OUT)/lib/app/libraries.o: ALL_CFLAGS += -DLIBURING_HEADERS='"$(shell pkg-config --modversion liburing)"'

unit: $(UNIT)
	@scripts/run-unit $(UNIT)
check: layers exports rules unit $(OUT)/bin/print-docs
	@PRINT_DOCS=$(OUT)/bin/print-docs scripts/docs --check

# An upper floor may include a lower one, never the reverse; and no object of
# lib/proto may ask the linker for a system call, a clock, a log or the heap.
layers: $(call objects,lib/proto)
	@scripts/layers $^

# What is exported is used by somebody else.
exports: $(call objects,lib shm tunnel-sidecar control-agent status-server) $(call objects,$(wildcard lib/* lib/*/*))
	@scripts/exports $(sort $^)

rules: ; @scripts/house-rules
lint: rules all ; @scripts/lint
deps: ; @scripts/deps
e2e-parts: $(PROGRAMS) $(OUT)/attack.so $(OUT)/bin/devplane $(OUT)/bin/print-docs $(INTEROP)
e2e: e2e-parts ; @tests/e2e/run $(E2E)
fuzzers: $(FUZZERS)
fuzz: ; @scripts/fuzz
fuzz-long: ; @scripts/fuzz-long $(FUZZ)
cover: ; @scripts/cover
model: ; @scripts/model
bench: $(PROGRAMS) ; @tests/bench/run
soak: $(PROGRAMS) $(OUT)/bin/devplane ; @tests/bench/soak
bench-flow: $(PROGRAMS) ; @tests/bench/stopped-readers
bench-evil: $(PROGRAMS) ; @tests/bench/evil
bench-outage: $(PROGRAMS) ; @tests/bench/outage
bench-bus: $(OUT)/bin/bench-bus ; @$<
TORTURE ?= 100000
torture: $(OUT)/bin/session-torture $(OUT)/bin/tests/unit/shm/crash_test
	@$< && $(OUT)/bin/tests/unit/shm/crash_test $(TORTURE)
docs: $(OUT)/bin/print-docs ; @PRINT_DOCS=$< scripts/docs
test: ; @scripts/test
demo: ; @scripts/demo
demo-check: ; @scripts/demo --check
help: ; @sed -n '/^# make/,/^[^#]/s/^# //p' Makefile
clean: ; $(RM) -r build

V ?= 0
Q := $(if $(filter 0,$(V)),@)
.SECONDARY:
.DELETE_ON_ERROR:
.PHONY: all unit check layers exports rules lint deps e2e e2e-parts fuzzers fuzz fuzz-long cover model bench bench-flow bench-outage bench-evil bench-bus soak torture docs test demo demo-check help clean
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
