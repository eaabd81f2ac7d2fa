/* Makes one system call as told and says how it went: probe NUMBER [ARGUMENT...] -> "ok" or the errno's number. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char zeros[4096];

static long argument(int count, char **words, int index) {
    if (index >= count)
        return 0;
    const char *word = words[index];
    if (strcmp(word, "buffer") == 0)
        return (long)zeros;
    if (word[0] == '@')
        return (long)(word + 1);
    return (long)strtoull(word, NULL, 0);
}

int main(int count, char **words) {
    long result = syscall(
        argument(count, words, 1), argument(count, words, 2), argument(count, words, 3),
        argument(count, words, 4), argument(count, words, 5), argument(count, words, 6));
    if (result < 0)
        printf("%d\n", errno);
    else
        printf("ok\n");
    fflush(stdout);
    _exit(0);
}
