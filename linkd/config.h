/* What linkd is told: command line over configuration file over defaults. */
#pragma once

#include "log.h"

typedef struct Config {
        char *state_dir, *socket; /* owned */
        LogLevel log_level;
        bool check_config, check_state; /* look and end */
} Config;

typedef enum ConfigResult {
        CONFIG_RUN = 0,
        CONFIG_DONE = 1,  /* --help or --version was printed */
        CONFIG_USAGE = 2, /* wrong usage, told on stderr */
} ConfigResult;

/* Reads argv and the file. A ConfigResult, or negative errno (told on stderr). */
int config_load(Config *ret, int argc, char **argv) _must_use_;
void config_done(Config *c);
