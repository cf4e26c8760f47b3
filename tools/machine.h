/* What this machine can do at best: the limits that `slm bench` compares its figures with. */
#ifndef TOOLS_MACHINE_H
#define TOOLS_MACHINE_H

/* Bytes that n threads read from memory in a second; 0 if it could not be measured (memory, threads). */
double machine_read_bandwidth(int n_threads);

/* Multiplications and additions of 8-bit integers that n threads do in a second with machine_int8_name(): a multiply-add
 * is two. 0 if there is no such instruction or it could not be measured. */
double machine_int8_ops(int n_threads);

/* The best instruction of this CPU that multiplies 8-bit integers and adds the products up; NULL: none that is known. */
const char *machine_int8_name(void);

#endif
