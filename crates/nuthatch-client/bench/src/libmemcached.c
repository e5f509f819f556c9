/* libmemcached's part: libmemcached LOAD PORT ROUNDS, 0 for half a second; prints requests, CPU and wall time in ns. */
#include <libmemcached/memcached.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int multi = strcmp(argv[1], "multi") == 0;
    long rounds = atol(argv[3]);
    double limit = 500e6;
    static char names[1000][16];
    const char *keys[1000];
    size_t lens[1000];
    for (int i = 0; i < 1000; i++) {
        lens[i] = snprintf(names[i], sizeof names[i], "user:%06d", i);
        keys[i] = names[i];
    }
    memcached_st *client = memcached_create(NULL);
    memcached_server_add(client, "127.0.0.1", atoi(argv[2]));
    memcached_behavior_set(client, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
    memcached_return_t rc;
    double cpu = 0, wall = 0;
    long done = 0;
    for (long round = 0;; round++) {
        if (round == 20) { /* connected and warm */
            cpu = ns(CLOCK_PROCESS_CPUTIME_ID), wall = ns(CLOCK_MONOTONIC);
            done = 0;
        }
        if (multi) {
            int start = round % 10 * 100;
            if (memcached_mget(client, keys + start, lens + start, 100) != MEMCACHED_SUCCESS) return 1;
            memcached_result_st *result;
            while ((result = memcached_fetch_result(client, NULL, &rc)) != NULL) {
                if (memcached_result_length(result) != 100) return 1;
                memcached_result_free(result);
                done++;
            }
        } else {
            int i = round % 1000;
            size_t len;
            uint32_t flags;
            char *value = memcached_get(client, keys[i], lens[i], &len, &flags, &rc);
            if (value == NULL || len != 100) return 1;
            free(value);
            done++;
        }
        if (rounds != 0 ? round == 20 + rounds
                        : round > 20 && ns(CLOCK_MONOTONIC) - wall > limit) break;
    }
    printf("%ld %.0f %.0f\n", done, ns(CLOCK_PROCESS_CPUTIME_ID) - cpu, ns(CLOCK_MONOTONIC) - wall);
    memcached_free(client);
    return 0;
}
