/* Completion scripts, made from the verb table. What is known only to the agent they ask of the
 * hidden verb
 * `__names KIND`. */
#pragma once

#include "verb.h"

void completion_print_bash(void);
void completion_print_zsh(void);
void completion_print_fish(void);
