# make check: every test; make fuzz: the fuzzers, as long as FUZZ_SECONDS says.
#
#   tests/test_*.c    a program each (Check), linked with the static library and tests/support
#   tests/test_*.py   the program from outside (unittest of the standard library); $SLM is the binary
#   tests/fuzz/*.c    LLVMFuzzerTestOneInput; make check replays tests/fuzz/corpus/<name>/ through each

TEST_SRC     := $(wildcard tests/test_*.c)
TEST_BIN     := $(TEST_SRC:%.c=$(O)/%)
SUPPORT_OBJ  := $(patsubst %.c,$(O)/%.o,$(wildcard tests/support/*.c))
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAY_BIN   := $(FUZZ_NAMES:%=$(O)/tests/fuzz/replay_%)
CHECK_LIBS    = $(shell pkg-config --libs check 2>/dev/null)
FUZZ_SECONDS ?= 60
EMULATED     := $(if $(ISAS),$(O)/tests/test_kernels_emulated)

# Objects are kept: a second run builds nothing.
.SECONDARY: $(TEST_SRC:%.c=$(O)/%.o) $(SUPPORT_OBJ) $(FUZZ_NAMES:%=$(O)/tests/fuzz/fuzz_%.o) $(O)/tests/fuzz/replay.o

.PHONY: check fuzz bench side-by-side
check:
	@tools/need.sh check
	@$(MAKE) --no-print-directory all tests
	@O=$(O) SAN=$(SAN) tests/run.sh

.PHONY: tests
tests: $(TEST_BIN) $(EMULATED) $(REPLAY_BIN) $(O)/tests/example

$(O)/tests/test_%: $(O)/tests/test_%.o $(SUPPORT_OBJ) $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

$(O)/tests/fuzz/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/replay.o $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# The AVX-512 tables on a machine without: the same sources over SIMDe's plain C, the same test, the same bits.
EMU_OBJ := $(patsubst %,$(O)/emulated/isa_%.o,$(filter avx512%,$(ISAS))) $(O)/emulated/cpu.o
EMU_FLAGS_avx512vnni := -D__AVX512VNNI__

$(O)/emulated/isa_%.o: kernels/isa_%.c $(O)/flags
	@mkdir -p $(@D)
	$(SAY) EMU  $<
	$(Q)$(CC) -O1 -std=gnu11 -ffp-contract=off -w -Wno-psabi -DSLM_SANITIZED $(EMU_FLAGS_$*) -Itests/emulate -Ikernels -MMD -MP -c -o $@ $<

$(O)/emulated/cpu.o: tests/emulate/cpu.c $(O)/flags
	@mkdir -p $(@D)
	$(SAY) EMU  $<
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/tests/test_kernels_emulated: $(O)/tests/test_kernels.o $(filter-out $(O)/kernels/cpu.o $(O)/kernels/isa_avx512%,$(KERNEL_SRC:%.c=$(O)/%.o)) $(EMU_OBJ)
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

# The example as a user would build it: the header, the static library, nothing else.
$(O)/tests/example: docs/example.c $(O)/libslm.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) -std=c11 -Wall -Wextra -Werror $(SANFLAGS) -Iinclude -o $@ $< $(O)/libslm.a $(LIBS)

# Fuzzers need clang: everything again in its own folder.
fuzz:
	@tools/need.sh fuzz
	@$(MAKE) --no-print-directory CC=clang O=build-fuzz SAN=address,undefined,fuzzer-no-link build-fuzz/libslm.a
	@for f in $(FUZZ_NAMES); do tests/fuzz/run.sh $$f $(FUZZ_SECONDS) || exit 1; done

# OpenBLAS is only compared with, and only where it is.
BLAS_LIBS := $(shell pkg-config --libs openblas 2>/dev/null)
bench: $(O)/bench/kernels $(if $(BLAS_LIBS),$(O)/bench/sgemm)
$(O)/bench/sgemm.o: EXTRA_CFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags openblas))
.SECONDARY: $(O)/bench/kernels.o $(O)/bench/sgemm.o
$(O)/bench/sgemm: LIBS += $(BLAS_LIBS)

$(O)/bench/%: $(O)/bench/%.o $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Against llama.cpp, which is fetched and built the first time; ARGS are options, see docs/benchmarks.md.
side-by-side:
	@O=$(O) bench/side-by-side $(ARGS)

-include $(wildcard $(O)/tests/*.d $(O)/tests/*/*.d $(O)/bench/*.d $(O)/emulated/*.d)
