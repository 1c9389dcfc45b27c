/* Answers an fsync of a folder as CIFS, vboxsf and some of FUSE do; preloaded by tests/limits.rs. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int fsync(int fd) {
  struct stat file;
  if (fstat(fd, &file) == 0 && S_ISDIR(file.st_mode)) {
    errno = atoi(getenv("FOLDER_SYNC_ERRNO"));
    return -1;
  }
  return syscall(SYS_fsync, fd);
}
