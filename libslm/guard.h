/* Mappings of files that are cut short while they are open: zeros instead of SIGBUS, and a flag. See slm_model_params.guard. */
#ifndef SLM_GUARD_H
#define SLM_GUARD_H

#include "base.h"

typedef struct slm__guard slm__guard;

/* Guard the mapping of `n_bytes` of the open file `fd`, which now belongs to the guard; on failure it is closed. LIMIT. */
slm_status slm__guard_create(int fd, const void *data, uint64_t n_bytes, slm__guard **out,
                             slm_error *err);

/* Before the mapping goes. Accepts NULL. */
void slm__guard_free(slm__guard *g);

/* CHANGED if the file has become shorter than the mapping since it was guarded, else `status`. From any thread. Accepts
 * NULL: never changed. */
slm_status slm__guard_check(slm__guard *g, slm_status status, slm_error *err);

#endif
