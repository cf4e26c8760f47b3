/* A file of any bytes is read as an importance matrix, once with failing memory; what comes of it is asked for everything, added to
 * itself, written and read again. */
#include "fuzz_file.h"

#include "../../libslm/imatrix.h"

static void ask(slm_imatrix *im) {
    slm_imatrix_info info = {.size = sizeof info};
    require(slm_imatrix_get_info(im, &info) == SLM_OK);
    require(info.n_tensors > 0 && info.n_seen <= info.n_tensors && info.chunk_size > 0);
    require(info.n_chunks >= 0 && info.n_datasets >= 0);
    for (int32_t i = 0; i < info.n_tensors; i++) {
        slm_imatrix_tensor t = {.size = sizeof t}, before = {.size = sizeof before};
        require(slm_imatrix_get_tensor(im, i, &t) == SLM_OK);
        require(i == 0 || (slm_imatrix_get_tensor(im, i - 1, &before) == SLM_OK &&
                           strcmp(before.name, t.name) < 0));
        float *out = malloc((size_t)t.n_columns * sizeof *out);
        require(out);
        for (int64_t m = 0; m < t.n_matrices; m++) {
            bool known = slm_imatrix_importance(im, t.name, m, t.n_columns, out);
            require(known || t.counts[m] < 1);
            for (int64_t j = 0; j < t.n_columns && known; j++)
                require(out[j] >= 0 && out[j] < 1e38f * 4);
        }
        require(!slm_imatrix_importance(im, t.name, t.n_matrices, t.n_columns, out));
        free(out);
    }
    for (int64_t i = 0; i < info.n_datasets; i++) {
        slm_string s;
        require(slm_imatrix_get_dataset(im, i, &s) == SLM_OK);
    }
}

/* The tensors that have seen anything; numbers are floats now. */
static void save_and_open(const slm_imatrix *im) {
    slm_imatrix_info info = {.size = sizeof info}, again = info;
    slm_imatrix *back = NULL;
    slm_error err = {0};
    slm_status s = slm_imatrix_save(im, fuzz_path, &err);
    fuzz_error(s, &err);
    require((fuzz_file_bytes() >= 0) == (s == SLM_OK));
    require(slm_imatrix_get_info(im, &info) == SLM_OK);
    if (s == SLM_OK) {
        require(slm_imatrix_open(fuzz_path, NULL, &back, &err) == SLM_OK);
        ask(back);
        require(slm_imatrix_get_info(back, &again) == SLM_OK);
        require(again.n_tensors == info.n_seen && again.n_datasets == info.n_datasets);
        require(again.chunk_size == info.chunk_size);
        slm_imatrix_free(back);
        unlink(fuzz_path);
    } else {
        require(s == SLM_ERR_NOMEM || s == SLM_ERR_NUMERIC ||
                (s == SLM_ERR_ARGUMENT && info.n_seen == 0));
    }
}

static slm_status read_once(const void *file, size_t n, uint32_t calls, bool use) {
    fuzz_memory memory = {.left = 64 << 20, .calls_left = calls};
    slm_allocator a = fuzz_allocator(&memory);
    slm__gguf g;
    slm_error err = {0};
    slm_imatrix *im = NULL, *more = NULL;
    slm_status s = slm__gguf_parse(&g, file, n, &a, &err);
    if (s == SLM_OK) s = slm__imatrix_read(&g, &a, &im, &err);
    fuzz_error(s, &err);
    require((im != NULL) == (s == SLM_OK));
    if (im && use) {
        ask(im);
        require(slm__imatrix_read(&g, &a, &more, &err) == SLM_OK);
        s = slm_imatrix_add(im, more, &err);
        fuzz_error(s, &err);
        require(s == SLM_OK);
        ask(im);
        save_and_open(im);
    }
    slm_imatrix_free(more);
    slm_imatrix_free(im);
    slm__gguf_close(&g);
    require(memory.n_live == 0);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    void *file = fuzz_copy(data, n);
    fuzz_make_folder();
    if (read_once(file, n, UINT32_MAX, true) == SLM_OK)
        read_once(file, n, fuzz_choice(data, n) % 16, false);
    free(file);
    return 0;
}
