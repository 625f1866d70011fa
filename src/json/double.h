/* Doubles as text whatever the locale: printf and strtod of a program that called setlocale may use a comma. */
#ifndef SOREX_JSON_DOUBLE_H
#define SOREX_JSON_DOUBLE_H

#include "base/bytes.h"

#define DOUBLE_TEXT_SIZE 32u

/* The shortest text that reads back as value, which is finite; zero-terminated. */
void double_write(double value, char out[DOUBLE_TEXT_SIZE]);
/* The digits of value, which is finite, as d[.ddd]e[+-]dd: as many as asked for, or as few as read back (0). A float's are
 * as few as read back as that float. */
void double_write_scientific(double value, unsigned digits, char out[DOUBLE_TEXT_SIZE]);
void float_write_scientific(float value, char out[DOUBLE_TEXT_SIZE]);
/* False when text is no number from end to end. What is too large or too small becomes infinite or 0. */
bool double_read(struct bytes text, double *out);

#endif
