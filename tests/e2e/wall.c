/* What a container may do with a path, asked from within: images hold no shell.
 * wall write PATH: makes a file.  wall see PATH: finds one.  Static, so that it runs anywhere. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
	if (argc != 3)
		return 2;
	if (strcmp(argv[1], "write") == 0)
		return open(argv[2], O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0;
	return access(argv[2], F_OK) < 0;
}
