/* Draws hostile matrices and sizes, and has views made in exactly as much memory as they take, for a sanitizer to watch.
 * Every level must be one between black and white, and the fill where a number of the matrix is not finite. */
#include "affine.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 1;

static uint64_t draw(uint64_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
}

static const double numbers[] = {
    NAN, INFINITY, -INFINITY, 1e308, -1e308, 1e39,   -1e39, 3e38, 4e18, -4e18, 2147483647.0, -2147483649.0, 1e9, -1e9,
    1e7, -1e5,     0.0,       -0.0,  1e-300, -1e-12, 1e-10, 1e-9, 0.5,  1.0,   -1.0,         2.0,           -0.37,
    15,  16,       -16,       299,
};
static const int sides[] = {1, 2, 3, 15, 16, 17, 18, 33, 300, 5000};
static const float fills[] = {-1, 0, 255, 77};

int main(int argc, char **argv)
{
    const long turns = argc > 1 ? atol(argv[1]) : 0;
    for (long turn = 0; turn < turns; turn++) {
        const int width = sides[draw(10)], height = sides[draw(width > 300 ? 4 : 9)], size = 1 + (int)draw(40);
        uint8_t *pixels = malloc((size_t)width * height);
        uint32_t *words = malloc(sizeof(uint32_t) * width * height);
        float *views = malloc(sizeof(float) * 2 * size * size);
        double inverses[12], tones[] = {1, 0, 1, 0};
        const float fill = fills[draw(4)];
        memset(pixels, 200, (size_t)width * height);
        for (int i = 0; i < 12; i++)
            inverses[i] = draw(3) ? numbers[draw(sizeof numbers / sizeof *numbers)] : (double)draw(4000) / 100 - 10;
        make_views(pixels, words, width, height, inverses, tones, 2, fill, views, (long)size * size, size);
        for (int i = 0; i < 2 * size * size; i++) {
            const double *m = inverses + 6 * (i / (size * size));
            const int is_finite = isfinite(m[0]) && isfinite(m[1]) && isfinite(m[2]) && isfinite(m[3]) &&
                                  isfinite(m[4]) && isfinite(m[5]);
            const float level = views[i];
            if (is_finite || fill < 0 ? !(level > -1e-3f && level < 255.001f) : level != fill) {
                printf("turn %ld: level %g\n", turn, level);
                exit(1);
            }
        }
        free(pixels), free(words), free(views);
    }
    printf("%ld turns\n", turns);
    return 0;
}
