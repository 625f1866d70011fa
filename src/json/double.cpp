#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>

extern "C" {
#include "json/double.h"
}

extern "C" void double_write(double value, char out[DOUBLE_TEXT_SIZE])
{
    *std::to_chars(out, out + DOUBLE_TEXT_SIZE - 1, value).ptr = '\0'; // at most 24 characters
}

extern "C" void double_write_scientific(double value, unsigned digits, char out[DOUBLE_TEXT_SIZE])
{
    char *end = out + DOUBLE_TEXT_SIZE - 1; // at most 24 characters: callers ask for 17 digits at most
    auto written = digits == 0 ? std::to_chars(out, end, value, std::chars_format::scientific)
                               : std::to_chars(out, end, value, std::chars_format::scientific, (int)digits - 1);
    *(written.ec == std::errc() ? written.ptr : out) = '\0';
}

extern "C" void float_write_scientific(float value, char out[DOUBLE_TEXT_SIZE])
{
    *std::to_chars(out, out + DOUBLE_TEXT_SIZE - 1, value, std::chars_format::scientific).ptr = '\0';
}

// True when a number that no double holds is too large, not too small: 1000 has its first digit 3 places above the
// units.
static bool too_large(const char *text, const char *end)
{
    long places = 0;
    bool point = false, digits = false;
    for (; text < end && *text != 'e' && *text != 'E'; text++) {
        point = point || *text == '.';
        digits = digits || (*text >= '1' && *text <= '9');
        if (*text >= '0' && *text <= '9')
            places += digits ? !point : -(long)point;
    }
    long exponent = 0;
    if (text < end) {
        const char *from = text + 1 < end && text[1] == '+' ? text + 2 : text + 1;
        if (std::from_chars(from, end, exponent).ec == std::errc::result_out_of_range)
            return *from != '-';
    }
    return exponent > -places;
}

extern "C" bool double_read(struct bytes text, double *out)
{
    const char *from = reinterpret_cast<const char *>(text.data);
    const char *end = from + text.len;
    const char *digit = from < end && *from == '-' ? from + 1 : from;
    if (digit >= end || *digit < '0' || *digit > '9') // std::from_chars knows "inf" and "nan", JSON does not
        return false;
    auto read = std::from_chars(from, end, *out);
    if (read.ptr != end || read.ec == std::errc::invalid_argument)
        return false;
    if (read.ec == std::errc::result_out_of_range) {
        *out = too_large(from + (*from == '-'), end) ? HUGE_VAL : 0;
        *out = *from == '-' ? -*out : *out;
    }
    return true;
}
