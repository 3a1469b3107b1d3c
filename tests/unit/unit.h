/* What every unit test includes: cmocka, which wants these headers before its own, and the library's types.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* assert_true that shows the numbers when it fails. */
#define assert_between(value, low, high)                                                                     \
    do {                                                                                                     \
        double seen_ = (double)(value), low_ = (double)(low), high_ = (double)(high);                        \
        if (!(seen_ >= low_ && seen_ <= high_))                                                              \
            fail_msg("%s is %g, not between %g and %g", #value, seen_, low_, high_);                         \
    } while (0)
