/* What linkd is told: command line over configuration file over defaults. */
#pragma once

#include "settings.h"

typedef struct Config {
        Settings settings;              /* state_dir and socket are set */
        bool check_config, check_state; /* look and end */
} Config;

typedef enum ConfigResult {
        CONFIG_RUN = 0,
        CONFIG_DONE = 1,  /* --help or --version was printed */
        CONFIG_USAGE = 2, /* wrong usage, told on stderr */
} ConfigResult;

/* Reads argv and the file. A ConfigResult, or negative errno with *ret_fault in words (free()). */
int config_load(Config *ret, int argc, char **argv, char **ret_fault) _must_use_;
void config_done(Config *c);
