# ldcgate: build, test and try. `make help` lists the targets.
#
# Layers, each a library that may use only those before it: common, router, rules; then the programs.
# V=1 shows the commands. SAN=address (with undefined) and SAN=thread build beside the plain tree, in build-address/ and build-thread/.

SAN ?=
V ?=
Q := $(if $(V),,@)
B := build$(if $(SAN),-$(SAN))
CC := gcc
PREFIX ?= /usr/local

WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wformat=2 -Wvla -Wundef -Wpointer-arith -Werror
CFLAGS ?= -O2 -g
comma := ,
SANFLAGS := $(if $(filter address,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer,$(if $(filter thread,$(SAN)),-fsanitize=thread))
HARDEN := $(if $(SAN),,-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE
ALL_CFLAGS = -std=gnu17 -I. -I$(B) $(WARN) $(HARDEN) $(CFLAGS) $(SANFLAGS) -MMD -MP -DH2O_USE_LIBUV=0
LDFLAGS += -pie -Wl,-z,relro,-z,now $(SANFLAGS)
COMMON_LIBS := -lhiredis -lyaml -lcurl -ljansson -lsystemd -lxxhash -lssl -lcrypto -lpthread -lm

objects = $(patsubst %.c,$(B)/%.o,$(wildcard $(1)/*.c))
LIBS := $(B)/librules.a $(B)/librouter.a $(B)/libcommon.a
PROGRAMS := $(B)/ldc-gateway $(B)/ldc-agent $(B)/ldcctl $(B)/ldc-sample-app

.PHONY: all
all: programs ## build everything
.PHONY: programs
programs: deps
	@$(MAKE) --no-print-directory $(PROGRAMS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(Q),@echo "  cc   $@")
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# libh2o's internal header wants klib's, which no package brings.
$(B)/gateway/h2_%.o: ALL_CFLAGS += -Igateway/klib

# The functions that run inside the brokers: one library, in one file, which the programs carry in them.
FUNCTIONS := common/functions/head.lua $(sort $(filter-out %/head.lua,$(wildcard common/functions/*.lua)))
$(B)/common/functions.lua: $(FUNCTIONS)
	@mkdir -p $(@D)
	$(Q){ echo '#!lua name=ldc1'; echo "local DIGEST = '$$(cat $^ | sha256sum | cut -c1-16)'"; cat $^; } > $@
$(B)/common/functions.o: ALL_CFLAGS += -DFUNCTIONS_FILE='"$(B)/common/functions.lua"'
$(B)/common/functions.o: $(B)/common/functions.lua
$(B)/ops/drill_html.o: ops/drill_report.css

# The drills, which ldcctl carries in it: each behind a line with the name of its file.
DRILLS := $(sort $(wildcard ops/drills/*.yaml))
$(B)/ops/drills.txt: $(DRILLS)
	@mkdir -p $(@D)
	$(Q){ for file in $^; do echo "%%% $${file##*/}"; cat $$file; done; } > $@
$(B)/ops/drill_shipped.o: ALL_CFLAGS += -DDRILLS_FILE='"$(B)/ops/drills.txt"'
$(B)/ops/drill_shipped.o: $(B)/ops/drills.txt

$(B)/lib%.a:
	@rm -f $@
	$(Q)ar rcs $@ $^
$(B)/libcommon.a: $(call objects,common)
$(B)/librouter.a: $(call objects,router)
$(B)/librules.a: $(call objects,rules)
$(B)/libgateway.a: $(filter-out $(B)/gateway/main.o,$(call objects,gateway))
$(B)/libagent.a: $(filter-out $(B)/unit-agent/main.o,$(call objects,unit-agent))
$(B)/libops.a: $(filter-out $(B)/ops/main.o,$(call objects,ops))

$(B)/ldc-gateway: $(B)/gateway/main.o $(B)/libgateway.a $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lh2o-evloop $(COMMON_LIBS)
$(B)/ldc-agent: $(B)/unit-agent/main.o $(B)/libagent.a $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COMMON_LIBS)
$(B)/ldcctl: $(B)/ops/main.o $(B)/libops.a $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COMMON_LIBS)
$(B)/ldc-sample-app: $(B)/ops/sample/main.o $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COMMON_LIBS)

TESTS ?= unit,fuzz,simulation,system

# --- tests -----------------------------------------------------------------------------------------------------------

UNIT_TESTS := $(patsubst test/unit/%.c,$(B)/test/%,$(wildcard test/unit/test_*.c))
GATEWAY_TESTS := $(filter $(B)/test/test_gateway_%,$(UNIT_TESTS))
AGENT_TESTS := $(filter $(B)/test/test_agent_%,$(UNIT_TESTS))
OPS_TESTS := $(filter $(B)/test/test_ops_%,$(UNIT_TESTS))
FUZZERS := $(patsubst test/fuzz/%.c,$(B)/test/%,$(wildcard test/fuzz/fuzz_*.c))

$(UNIT_TESTS): $(B)/test/%: $(B)/test/unit/%.o $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ -Wl,--start-group $^ -Wl,--end-group $(if $(filter $@,$(GATEWAY_TESTS)),-lh2o-evloop) -lcmocka $(COMMON_LIBS)
$(GATEWAY_TESTS): $(B)/libgateway.a
$(B)/test/test_gateway_http1 $(B)/test/test_gateway_http2: $(B)/test/unit/ingress_driver.o
$(B)/test/test_gateway_http2: $(B)/test/unit/http2_client.o
$(AGENT_TESTS): $(B)/libagent.a
$(B)/test/test_agent_partition: $(B)/test/unit/partition_world.o
$(B)/test/test_core $(B)/test/test_core_rules $(B)/test/test_core_plan: $(B)/test/unit/core_scene.o
$(OPS_TESTS): $(B)/libops.a
# Replays a corpus: each fuzz target is a plain program too (test/fuzz/replay.h).
$(filter $(B)/test/fuzz_gateway_%,$(FUZZERS)): $(B)/libgateway.a
$(FUZZERS): $(B)/test/%: $(B)/test/fuzz/%.o $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ -Wl,--start-group $^ -Wl,--end-group $(if $(findstring fuzz_gateway_,$@),-lh2o-evloop) $(COMMON_LIBS)

# Whole deployments under chance, around the real core of failover.
$(B)/test/simulation: $(call objects,test/sim) $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COMMON_LIBS)

# What a routing decision costs, for the bench.
$(B)/test/route: $(B)/test/bench/route.o $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COMMON_LIBS)

# The load on collections that keeps the books, for the proof of zone C and its bench.
$(B)/test/zonec-load: $(call objects,test/zonec) $(LIBS)
	$(if $(Q),@echo "  link $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COMMON_LIBS)

.PHONY: deps
deps: ## install what the build and the tests need (apt; root or sudo)
	@sh ops/deps.sh

.PHONY: test
test: programs ## unit, golden, system and fuzz-replay tests
	@$(MAKE) --no-print-directory test-run
.PHONY: test-run
test-run: $(UNIT_TESTS) $(FUZZERS) $(B)/test/simulation $(B)/test/zonec-load $(PROGRAMS)
	@python3 test/run.py --build $(B) --only $(TESTS)

.PHONY: unit
unit: $(UNIT_TESTS) $(FUZZERS) $(B)/test/simulation ## unit, golden and fuzz-replay tests only
	@python3 test/run.py --build $(B) --only unit,fuzz,simulation

.PHONY: demo
demo: programs ## a whole deployment on loopback: users, a rule change, a report
	@sh ops/demo.sh $(B)

.PHONY: bench
bench: programs ## side by side with nginx, HAProxy and webdis, on loopback
	@python3 test/bench/bench.py --build $(B)

SECONDS ?= 600
SEED ?= 0
.PHONY: mutants
mutants: programs $(B)/test/simulation ## take one rule at a time out of a copy, and see its test fail (K=WORD for some)
	$(Q)$(if $(K),,$(B)/test/simulation --mutants --seeds 5000)
	$(Q)python3 test/mutants.py $(if $(K),-k "$(K)")
.PHONY: soak
soak: programs $(B)/test/simulation ## kill everything at random for SECONDS (600), and find every message again; SEED=N for the same kills
	@$(B)/test/simulation --seeds 40000 --from $(if $(filter-out 0,$(SEED)),$(SEED),100000)
	@LDC_BUILD=$(B) LDC_SOAK_SECONDS=$(SECONDS) LDC_SOAK_SEED=$(SEED) python3 test/system/test_conservation.py
	@LDC_BUILD=$(B) LDC_WAITING=10000 python3 test/system/test_timers.py Delivery
	@LDC_BUILD=$(B) LDC_WAITING=10000 python3 test/system/test_transactions.py Checks

.PHONY: zonec-soak
zonec-soak: programs $(B)/test/zonec-load ## kill, damage, wipe and cut off copies of collections under writes, SECONDS (600) of kills; SEED=N
	@LDC_BUILD=$(B) python3 test/zonec/soak.py --seconds $(SECONDS) --seed $(SEED) $(if $(K),--only $(K))

.PHONY: matrix
matrix: programs ## each fault to a whole deployment, each promise checked, as a table (root; K=WORD for some; WITHOUT=RULE|all)
	@python3 test/matrix/matrix.py $(if $(K),-k "$(K)") $(if $(WITHOUT),--without $(WITHOUT)) --seed $(SEED)

.PHONY: noise
noise: programs ## nothing broken, everything disturbed, for SECONDS (600): whatever moves must have had its reason (root)
	@python3 test/matrix/noise.py --seconds $(SECONDS) --seed $(SEED)

.PHONY: model
model: deps ## the failover protocol in SPIN: wide bounds, and each rule taken out (K=WORD for some)
	@python3 test/model/run.py $(if $(K),-k "$(K)",--all)

.PHONY: check
check: programs ## layers, format, static analysis, documentation against the code
	@python3 test/check.py --build $(B)

.PHONY: docs
docs: programs ## format the code, and write the generated parts of docs/ anew
	@python3 test/check.py --build $(B) --fix

.PHONY: format
format: ## clang-format over the tree
	clang-format -i $$(git ls-files '*.c' '*.h')

.PHONY: install
install: programs ## into $(PREFIX), with units for systemd
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system
	install $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	for unit in ldc-gateway.service ldc-agent@.service; do \
	    sed 's,/usr/local/bin,$(PREFIX)/bin,' ops/packaging/$$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; done

.PHONY: clean
clean: ## remove what was built
	rm -rf build build-address build-thread

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
