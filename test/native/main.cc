#include "check.h"

int main(int argc, char** argv) { return k2::test::RunTests(argc, argv); }
