/* Functions whose arguments are constants once inlined, and loops whose bounds then are: their arrays become registers; and a way to keep
 * them there. */
#ifndef SLM_INLINE_H
#define SLM_INLINE_H

#include <stdbool.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLM_SANITIZED 1
#endif
#endif

/* With what the address sanitizer adds, code that is all inlined would take minutes to build. */
#if defined(__SANITIZE_ADDRESS__) || defined(SLM_SANITIZED)
#define INLINE static inline
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#endif

/* Where x, a vector, comes from is hidden from the compiler: it is held in a register and neither loaded nor computed anew. On ARM64 GCC
 * spills more for it. */
#ifndef OPAQUE
#if defined(__x86_64__)
#define OPAQUE(x) __asm__("" : "+v"(x))
#else
#define OPAQUE(x) ((void)(x))
#endif
#endif

/* x, of which the compiler does not know that it stays the same: or it would make a copy of the loop around for each value. */
INLINE bool runtime_bool(bool x) {
    __asm__ volatile("" : "+r"(x));
    return x;
}

#endif
