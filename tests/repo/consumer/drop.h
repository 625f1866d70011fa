/* A filter of version 1 that drops every event, in binary form. */
static const unsigned char drop_wasm[] =
    "\0asm\1\0\0\0"
    "\x01\x10\x03\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7f\x60\x00\x01\x7f" /* (i32) -> i32, (i32, i32) -> i32, () -> i32 */
    "\x03\x04\x03\x00\x01\x02"
    "\x05\x03\x01\x00\x01" /* one page */
    "\x07\x2b\x04\x06memory\x02\x00\x05"
    "alloc\x00\x00\x09transform\x00\x01\x0aoutput_len\x00\x02"
    "\x0a\x11\x03\x05\x00\x41\x80\x08\x0b\x04\x00\x41\x7f\x0b\x04\x00\x41\x00\x0b"; /* 1024, -1, 0 */

static const char drop_event[] = "{\"after\":{\"id\":1},\"op\":\"insert\",\"source\":{\"source_name\":\"s\",\"offset\":\"1\",\"timestamp\":1},"
                                 "\"ts\":1,\"table\":\"t\",\"envelope_version\":1}";
