/* The calls of MPI that the learner needs, with types that a C compiler alone knows.
 *
 * Owns the one request that may be open, and roll calls. Decides nothing: `mpi.rs` does. Every function returns an
 * error code of MPI, 0 for success. One thread at a time may call.
 */

#include <mpi.h>
#include <stdint.h>

/* Messages of a roll call: who is there?, and the answer. Both carry the number of the round. */
enum { TAG_CALL = 1, TAG_HERE = 2 };

static MPI_Request request = MPI_REQUEST_NULL;
static int size = 1, rank = 0;

int impala_mpi_init(int *own_rank, int *n_ranks)
{
    int given, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &given);
    if (code != MPI_SUCCESS) return code;
    if (given < MPI_THREAD_SERIALIZED) return MPI_ERR_OTHER;
    if ((code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN)) != MPI_SUCCESS) return code;
    if ((code = MPI_Comm_rank(MPI_COMM_WORLD, &rank)) != MPI_SUCCESS) return code;
    if ((code = MPI_Comm_size(MPI_COMM_WORLD, &size)) != MPI_SUCCESS) return code;
    *own_rank = rank;
    *n_ranks = size;
    return MPI_SUCCESS;
}

int impala_mpi_start_sum(float *values, int n)
{
    return MPI_Iallreduce(MPI_IN_PLACE, values, n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, &request);
}

int impala_mpi_start_gather(const void *own, void *all, int n_bytes)
{
    return MPI_Iallgather(own, n_bytes, MPI_BYTE, all, n_bytes, MPI_BYTE, MPI_COMM_WORLD, &request);
}

int impala_mpi_start_broadcast(void *bytes, int n_bytes)
{
    return MPI_Ibcast(bytes, n_bytes, MPI_BYTE, 0, MPI_COMM_WORLD, &request);
}

int impala_mpi_test(int *is_done)
{
    return MPI_Test(&request, is_done, MPI_STATUS_IGNORE);
}

/* Sends a message that nobody waits for. It lies in MPI's own memory by the time the call returns, being small. */
static int post(int to, int tag, uint64_t round)
{
    static uint64_t rounds[2];
    MPI_Request sent;
    rounds[tag == TAG_HERE] = round;
    int code = MPI_Isend(&rounds[tag == TAG_HERE], sizeof round, MPI_BYTE, to, tag, MPI_COMM_WORLD, &sent);
    return code == MPI_SUCCESS ? MPI_Request_free(&sent) : code;
}

/* Asks every other rank whether it is in this round. */
int impala_mpi_call_roll(uint64_t round)
{
    for (int to = 0; to < size; to++) {
        int code = to == rank ? MPI_SUCCESS : post(to, TAG_CALL, round);
        if (code != MPI_SUCCESS) return code;
    }
    return MPI_SUCCESS;
}

/* Answers who asks about this round, and sets a byte of `here` for who has answered. */
int impala_mpi_hear_roll(uint64_t round, unsigned char *here)
{
    for (;;) {
        int is_there, code;
        uint64_t of;
        MPI_Status status;
        code = MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &is_there, &status);
        if (code != MPI_SUCCESS || !is_there) return code;
        code = MPI_Recv(&of, sizeof of, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, MPI_COMM_WORLD, &status);
        if (code != MPI_SUCCESS) return code;
        if (of != round) continue;
        if (status.MPI_TAG == TAG_HERE) here[status.MPI_SOURCE] = 1;
        else if ((code = post(status.MPI_SOURCE, TAG_HERE, round)) != MPI_SUCCESS) return code;
    }
}

int impala_mpi_finalize(void)
{
    return MPI_Finalize();
}

/* What a code means, as a text that ends with a zero byte within `n_bytes`. */
void impala_mpi_reason(int code, char *text, int n_bytes)
{
    char whole[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (MPI_Error_string(code, whole, &n) != MPI_SUCCESS) n = 0;
    if (n > n_bytes - 1) n = n_bytes - 1;
    for (int i = 0; i < n; i++) text[i] = whole[i];
    text[n] = 0;
}
