/* Give each file of the folders named on the command line to the fuzzer that this is linked with: the corpus as an ordinary
 * test, without libFuzzer. A find ends the program; the last name printed is then its file. */
#include <dirent.h>

#include "fuzz.h"

static int n_run, n_failed;

static uint8_t *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    uint8_t *data = NULL;
    long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    if (size >= 0) data = malloc((size_t)size + 1);
    rewind(f);
    *n = data ? fread(data, 1, (size_t)size, f) : 0;
    if (data && *n != (size_t)size) {
        free(data);
        data = NULL;
    }
    fclose(f);
    return data;
}

static void replay_file(const char *path) {
    size_t n;
    uint8_t *data = read_file(path, &n);
    printf("%s%s\n", data ? "" : "cannot read ", path);
    fflush(stdout);
    n_run++;
    n_failed += !data;
    if (data) LLVMFuzzerTestOneInput(data, n);
    free(data);
}

static int visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static void replay_folder(const char *folder) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, visible, alphasort);
    if (n <= 0) { /* a test of nothing does not pass */
        printf("no files in %s\n", folder);
        n_run++;
        n_failed++;
    }
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        replay_file(path);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++) replay_folder(argv[i]);
    printf("%d%%: Checks: %d, Failures: %d, Errors: 0\n", 100 * (n_run - n_failed) / n_run, n_run,
           n_failed);
    return n_failed != 0;
}
