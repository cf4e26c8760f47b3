# libslm. Targets:
#
#   make             the library, static and shared, and the program, in build/
#   make demo        get a small model and ask it PROMPT
#   make check       every test
#   make check-arm   only those that run on ARM64, under an emulator
#   make install     into PREFIX (default: /usr/local), under DESTDIR if that is set
#   make bench       build/bench/*: what kernels reach, and what text, grammars and samplers cost (docs/benchmarks.md)
#   make side-by-side   a report on libslm and llama.cpp, in bench/results/
#   make differential   token ids of libslm and llama.cpp, compared
#   make schemas     the tests of JSON Schema with 1,000 random texts for each schema
#   make fuzz        every fuzzer for FUZZ_SECONDS (default: 60); wants clang
#   make clean
#
# Variables: CC, CFLAGS, LDFLAGS as usual, and
#
#   O=DIR            where everything is built (default: build)
#   SAN=address,...  build with these sanitizers, for example  make check O=build-asan SAN=address,undefined
#   WERROR=-Werror   warnings are errors
#   FAST=-O1         the kernels with less optimisation: they are slow to build
#   V=1              show the commands

O      ?= build
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g
PROMPT ?= Why is the sky blue?

VERSION := 0.1.0
SONAME  := libslm.so.0

# Everything that decides the bits of a result is here and not in CFLAGS (docs/numerics.md): no contraction of
# a*b+c but where the source says fmaf.
STRICT := -std=c11 -ffp-contract=off -fvisibility=hidden -fPIC -pthread -D_GNU_SOURCE \
          -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wundef $(WERROR)
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
ALL_CFLAGS := $(CFLAGS) $(STRICT) $(SANFLAGS)
LIBS := -lm -pthread
TOOL_LIBS := -ljansson -ledit # the program's only

MACHINE := $(shell $(CC) -dumpmachine)

# Instruction sets: each only in its own file, chosen at run time.
ISA_FLAGS_avx2   := -mavx2 -mfma -mf16c
ISA_FLAGS_avxvnni := $(ISA_FLAGS_avx2) -mavxvnni
ISA_FLAGS_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
ISA_FLAGS_avx512vnni := $(ISA_FLAGS_avx512) -mavx512vnni
ISA_FLAGS_neon    := -march=armv8-a
ISA_FLAGS_neondot := -march=armv8.2-a+dotprod
ISA_FLAGS_neoni8mm := -march=armv8.2-a+dotprod+i8mm
ISAS := $(if $(filter x86_64%,$(MACHINE)),avx2 avxvnni avx512 avx512vnni) $(if $(filter aarch64%,$(MACHINE)),neon neondot neoni8mm)

# V=1 shows the commands.
Q   := $(if $(V),,@)
SAY := @$(if $(V),:,echo ' ')

# The search for scales needs no more than each vocabulary.
SEARCHES := $(filter avx2 avx512 neon,$(ISAS))
KERNEL_SRC := $(filter-out kernels/isa_% kernels/search_%,$(wildcard kernels/*.c)) $(ISAS:%=kernels/isa_%.c) $(SEARCHES:%=kernels/search_%.c)
LIB_SRC    := $(KERNEL_SRC) $(wildcard libslm/*.c)
TOOL_SRC   := $(wildcard tools/*.c)
LIB_OBJ    := $(LIB_SRC:%.c=$(O)/%.o)
TOOL_OBJ   := $(TOOL_SRC:%.c=$(O)/%.o)

.PHONY: all demo check install help clean
all: $(O)/libslm.a $(O)/libslm.so $(O)/slm

$(O)/libslm.a: $(LIB_OBJ)
	@rm -f $@
	$(SAY) AR   $@
	$(Q)$(AR) rcs $@ $^

$(O)/$(SONAME): $(LIB_OBJ)
	$(SAY) LINK $@
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,--as-needed $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(O)/libslm.so: $(O)/$(SONAME)
	@ln -sf $(SONAME) $@

$(O)/slm: $(TOOL_OBJ) $(O)/libslm.a
	$(SAY) LINK $@
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(TOOL_LIBS) $(LIBS)

# A change of compiler or flags rebuilds everything: the flags are a file that objects depend on.
$(O)/flags: FORCE
	@mkdir -p $(O)
	@echo '$(CC) $(ALL_CFLAGS) $(FAST)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(FAST)' > $@
FORCE:

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(SAY) CC   $<
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

# Under sanitizers the kernels would take minutes to build; under that of addresses they are not inlined (kernels/inline.h).
FAST := $(if $(findstring address,$(SAN)),-O2,$(if $(SAN),-O1,-O3))
$(O)/kernels/%.o $(O)/libslm/ops.o $(O)/libslm/attn.o $(O)/libslm/imatrix.o $(O)/libslm/sampler_row.o $(O)/tools/compare_row.o: EXTRA_CFLAGS = $(FAST)
$(foreach i,$(ISAS),$(eval $(O)/kernels/isa_$(i).o: EXTRA_CFLAGS = $(FAST) $(ISA_FLAGS_$(i))))
$(foreach i,$(SEARCHES),$(eval $(O)/kernels/search_$(i).o: EXTRA_CFLAGS = $(FAST) $(ISA_FLAGS_$(i))))

# The prompt goes through the environment: it may hold quotes and dollars.
demo: export QUESTION = $(value PROMPT)
demo:
	@tools/need.sh demo
	@$(MAKE) --no-print-directory all
	@tools/demo.sh "$(O)/slm" "$$QUESTION"

include tests/tests.mk

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include
	install -m 755 $(O)/slm $(DESTDIR)$(PREFIX)/bin/
	install -m 644 $(O)/libslm.a $(DESTDIR)$(PREFIX)/lib/
	install -m 755 $(O)/$(SONAME) $(DESTDIR)$(PREFIX)/lib/
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libslm.so
	install -m 644 include/slm.h $(DESTDIR)$(PREFIX)/include/

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

clean:
	rm -rf $(O)

-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d)
