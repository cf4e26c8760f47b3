/* Which tensor of a model becomes which type: what users of GGUF know by names like Q4_K_M. */
#ifndef SLM_MIXTURE_H
#define SLM_MIXTURE_H

#include "gguf.h"

typedef struct slm__mixture slm__mixture;

/* By name, in capitals or not; NULL: unknown. */
const slm__mixture *slm__mixture_find(const char *name);

/* By index; NULL past the last. */
const slm__mixture *slm__mixture_at(int32_t index);

const char *slm__mixture_name(const slm__mixture *m);

/* The number that general.file_type has for it. */
uint32_t slm__mixture_file_type(const slm__mixture *m);

/* A type of blocks by name, in capitals or not. False: unknown. */
bool slm__type_find(const char *name, slm_type *out);

/* A matrix of weights, as opposed to norms, biases and what is small and steers much. */
bool slm__is_quantizable(const slm__tensor *t);

/* The type itself if rows of so many weights are whole blocks of it, else the next that fits, a little larger. */
slm_type slm__type_that_fits(slm_type type, int64_t row);

/* types [n_tensors]: what each tensor becomes, before slm__type_that_fits(); its own type if it is not quantizable. `arch` is
 * general.architecture; some mixtures are others if the importance of columns is known. NOMEM. */
slm_status slm__mixture_choose(const slm__mixture *m, const slm__gguf *g, const char *arch,
                               bool importance, const slm_allocator *allocator, slm_type *types,
                               slm_error *err);

#endif
