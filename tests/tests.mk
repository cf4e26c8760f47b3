# make check: every test; make check-arm: those of ARM64 only; make schemas: those of JSON Schema with more random texts; make fuzz: the
# fuzzers, as long as FUZZ_SECONDS says.
#
#   tests/test_*.c    a program each (Check), linked with the static library and tests/support
#   tests/test_*.py   the program from outside (unittest of the standard library); $SLM is the binary
#   tests/fuzz/*.c    LLVMFuzzerTestOneInput; make check replays tests/fuzz/corpus/<name>/ through each
#
#   CHECK_STANDIN=tests/arm   that folder's stand-in for Check instead of the library

TEST_SRC     := $(wildcard tests/test_*.c)
TEST_BIN     := $(TEST_SRC:%.c=$(O)/%)
SUPPORT_OBJ  := $(patsubst %.c,$(O)/%.o,$(wildcard tests/support/*.c $(CHECK_STANDIN:%=%/*.c)))
FUZZ_NAMES   := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
EXAMPLES     := $(patsubst docs/%.c,$(O)/tests/%,$(wildcard docs/*.c))
DRIVERS      := $(addprefix $(O)/tests/,schema_driver token_hashes chat_driver report_driver rows_driver) # through them tests in Python ask the library
REPLAY_BIN   := $(FUZZ_NAMES:%=$(O)/tests/fuzz/replay_%)
CHECK_LIBS    = $(if $(CHECK_STANDIN),,$(shell pkg-config --libs check 2>/dev/null))
FUZZ_SECONDS ?= 60
# Built without sanitizers, so once is enough.
EMULATED     := $(if $(SAN),,$(if $(filter avx512%,$(ISAS)),$(O)/tests/test_kernels_emulated))

# ARM64 on a machine that is none: kernels and golden hashes, by a cross compiler and a user-mode emulator. Not under
# sanitizers too: once is enough.
ARM_TESTS    := test_kernels test_forward test_families test_adapter test_smollm2_bits \
                test_sampler test_sampler_chain test_stops
ARM_WANTED   := $(if $(SAN)$(filter aarch64% arm64%,$(MACHINE)),,$(ARM_TESTS))

# Objects are kept: a second run builds nothing.
.SECONDARY: $(TEST_SRC:%.c=$(O)/%.o) $(DRIVERS:%=%.o) $(SUPPORT_OBJ) $(FUZZ_NAMES:%=$(O)/tests/fuzz/fuzz_%.o) $(O)/tests/fuzz/replay.o

$(O)/tests/%.o: EXTRA_CFLAGS = $(CHECK_STANDIN:%=-I%)

.PHONY: check check-arm fuzz bench side-by-side
check:
	@tools/need.sh check
	@$(MAKE) --no-print-directory all tests
	@$(if $(ARM_WANTED),if tools/need.sh arm; then $(MAKE) --no-print-directory tests-arm; fi)
	@O=$(O) SAN=$(SAN) ARM_TESTS='$(ARM_WANTED)' tests/run.sh

check-arm:
	@tools/need.sh arm
	@$(MAKE) --no-print-directory tests-arm
	@O=$(O) ARM_TESTS='$(ARM_TESTS)' tests/run.sh arm

# Static: the emulator then needs no libraries of ARM64.
.PHONY: tests tests-arm programs-arm
tests-arm:
	@$(MAKE) --no-print-directory CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar O=$(O)/arm SAN= CFLAGS='-O2 -g' LDFLAGS=-static \
	    CHECK_STANDIN=tests/arm programs-arm
programs-arm: $(ARM_TESTS:%=$(O)/tests/%)
	@:

tests: $(TEST_BIN) $(EMULATED) $(REPLAY_BIN) $(EXAMPLES) $(DRIVERS)

# The reports of the program, without the program.
$(O)/tests/report_driver: $(addprefix $(O)/tools/,compare_html.o compare_json.o compare_markdown.o compare_plots.o compare_sections.o \
                            compare_style.o compare_tables.o compare_tasks.o compare_text.o figures.o html.o svg.o text.o)

$(TEST_BIN) $(DRIVERS): $(O)/tests/%: $(O)/tests/%.o $(SUPPORT_OBJ) $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

$(O)/tests/fuzz/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/replay.o $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# The tables of AVX-512 and AVX-VNNI on a machine without: the same sources over SIMDe's plain C, the same test, the same bits.
EMU_OBJ := $(patsubst %,$(O)/emulated/isa_%.o,$(filter-out avx2,$(ISAS))) $(O)/emulated/search_avx512.o $(O)/emulated/cpu.o
EMU_FLAGS_avxvnni := $(ISA_FLAGS_avx2) -include tests/emulate/avxvnni.h
EMU_FLAGS_avx512 := -Itests/emulate
EMU_FLAGS_avx512vnni := -D__AVX512VNNI__ -Itests/emulate

$(O)/emulated/isa_%.o: kernels/isa_%.c $(O)/flags
	@mkdir -p $(@D)
	$(SAY) EMU  $<
	$(Q)$(CC) -O1 -std=gnu11 -ffp-contract=off -w -Wno-psabi -DSLM_SANITIZED $(EMU_FLAGS_$*) -Ikernels -MMD -MP -c -o $@ $<

$(O)/emulated/search_avx512.o: kernels/search_avx512.c $(O)/flags
	@mkdir -p $(@D)
	$(SAY) EMU  $<
	$(Q)$(CC) -O1 -std=gnu11 -ffp-contract=off -w -Wno-psabi -DSLM_SANITIZED $(EMU_FLAGS_avx512) -Ikernels -MMD -MP -c -o $@ $<

$(O)/emulated/cpu.o: tests/emulate/cpu.c $(O)/flags
	@mkdir -p $(@D)
	$(SAY) EMU  $<
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/tests/test_kernels_emulated: $(O)/tests/test_kernels.o $(filter-out $(O)/kernels/cpu.o $(EMU_OBJ:$(O)/emulated/%=$(O)/kernels/%),$(KERNEL_SRC:%.c=$(O)/%.o)) $(EMU_OBJ)
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

# The examples as a user would build them: the header, the static library, nothing else.
$(EXAMPLES): $(O)/tests/%: docs/%.c $(O)/libslm.a
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) -std=c11 -Wall -Wextra -Werror $(SANFLAGS) -Iinclude -o $@ $< $(O)/libslm.a $(LIBS)

# The tests of JSON Schema with as many random texts and cases as docs/json-schema.md says: some minutes.
.PHONY: schemas
schemas: $(O)/slm $(O)/tests/schema_driver
	@for t in suite examples diff; do SCHEMA_GENERATE=1000 SCHEMA_CASES=3000 SLM=$(O)/slm O=$(O) python3 tests/test_schema_$$t.py || exit 1; done

# Fuzzers need clang: everything again in its own folder.
fuzz:
	@tools/need.sh fuzz
	@$(MAKE) --no-print-directory CC=clang O=build-fuzz SAN=address,undefined,fuzzer-no-link build-fuzz/libslm.a
	@for f in $(FUZZ_NAMES); do tests/fuzz/run.sh $$f $(FUZZ_SECONDS) || exit 1; done

# OpenBLAS is only compared with, and only where it is.
BLAS_LIBS := $(shell pkg-config --libs openblas 2>/dev/null)
BENCHES   := $(patsubst %.c,$(O)/%,$(filter-out $(if $(BLAS_LIBS),,bench/sgemm.c),$(wildcard bench/*.c)))
bench: $(BENCHES)
$(O)/bench/sgemm.o: EXTRA_CFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags openblas))
.SECONDARY: $(BENCHES:%=%.o)
$(O)/bench/sgemm: LIBS += $(BLAS_LIBS)

$(O)/bench/%: $(O)/bench/%.o $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Against llama.cpp, which is fetched and built the first time; ARGS are options, see docs/benchmarks.md.
side-by-side:
	@O=$(O) bench/side-by-side $(ARGS)

# Token ids against llama.cpp, which is fetched and built the first time; ARGS are options, see tests/differential/run.py.
.PHONY: differential
differential: $(O)/libslm.a $(O)/tests/support/texts.o
	@O=$(O) tests/differential/run.py $(ARGS)

-include $(wildcard $(O)/tests/*.d $(O)/tests/*/*.d $(O)/bench/*.d $(O)/emulated/*.d)
