/* Bilinear affine views of a gray image: uint8 or uint16 in, gain * grey + bias in float32 out.
 *
 * Where OpenCV fetches four neighbours for each pixel of a view, this fetches one word of 32 or 64 bits that holds all
 * four: the image is first laid out as such words, once for all its views. The loops are plain C that compilers turn
 * into vector code, built for several instruction sets of which the best is taken at run time.
 *
 * Coordinates have their origin in the centre of the first pixel; nothing lies at those that are not finite. Called
 * through ctypes by pipeline/engines/warps.py, without the interpreter's lock.
 */

#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* words[y][x] holds the pixels (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1), lowest byte first. */
static void gather_neighbours(const uint8_t *pixels, int width, int height, uint32_t *words)
{
    for (int y = 0; y < height - 1; y++) {
        const uint8_t *above = pixels + (long)y * width, *below = above + width;
        uint32_t *out = words + (long)y * width;
        int x = 0;
#if defined(__x86_64__)
        for (; x + 17 <= width; x += 16) {
            __m128i a = _mm_loadu_si128((const void *)(above + x)), b = _mm_loadu_si128((const void *)(above + x + 1));
            __m128i c = _mm_loadu_si128((const void *)(below + x)), d = _mm_loadu_si128((const void *)(below + x + 1));
            __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
            _mm_storeu_si128((void *)(out + x), _mm_unpacklo_epi16(ab, cd));
            _mm_storeu_si128((void *)(out + x + 4), _mm_unpackhi_epi16(ab, cd));
            ab = _mm_unpackhi_epi8(a, b), cd = _mm_unpackhi_epi8(c, d);
            _mm_storeu_si128((void *)(out + x + 8), _mm_unpacklo_epi16(ab, cd));
            _mm_storeu_si128((void *)(out + x + 12), _mm_unpackhi_epi16(ab, cd));
        }
#endif
        for (; x < width - 1; x++)
            out[x] = above[x] | (uint32_t)above[x + 1] << 8 | (uint32_t)below[x] << 16 | (uint32_t)below[x + 1] << 24;
    }
}

/* The same of 16 bits. */
static void gather_deep_neighbours(const uint16_t *restrict pixels, int width, int height, uint64_t *restrict words)
{
    for (int y = 0; y < height - 1; y++) {
        const uint16_t *above = pixels + (long)y * width, *below = above + width;
        uint64_t *out = words + (long)y * width;
        for (int x = 0; x < width - 1; x++)
            out[x] = above[x] | (uint64_t)above[x + 1] << 16 | (uint64_t)below[x] << 32 | (uint64_t)below[x + 1] << 48;
    }
}

/* num pixels of a row whose four neighbours all lie in the image; (u, v) is the place of the first, (du, dv) the step. */
FOR_EACH_PROCESSOR
static void make_inside(const uint32_t *restrict words, int width, float u, float du, float v, float dv, float gain,
                        float bias, float *restrict out, int num)
{
    for (int x = 0; x < num; x++) {
        float right = u + du * (float)x, down = v + dv * (float)x;
        int column = (int)right, row = (int)down;
        uint32_t word = words[row * width + column];
        float a = (float)(int)(word & 255), b = (float)(int)(word >> 8 & 255);
        float c = (float)(int)(word >> 16 & 255), d = (float)(int)(word >> 24);
        right -= (float)column, down -= (float)row;
        float above = a + right * (b - a), below = c + right * (d - c);
        out[x] = (above + down * (below - above)) * gain + bias;
    }
}

/* The same of 16 bits. */
FOR_EACH_PROCESSOR
static void make_deep_inside(const uint64_t *restrict words, int width, float u, float du, float v, float dv,
                             float gain, float bias, float *restrict out, int num)
{
    for (int x = 0; x < num; x++) {
        float right = u + du * (float)x, down = v + dv * (float)x;
        int column = (int)right, row = (int)down;
        uint64_t word = words[row * width + column];
        float a = (float)(int)(word & 65535), b = (float)(int)(word >> 16 & 65535);
        float c = (float)(int)(word >> 32 & 65535), d = (float)(int)(word >> 48);
        right -= (float)column, down -= (float)row;
        float above = a + right * (b - a), below = c + right * (d - c);
        out[x] = (above + down * (below - above)) * gain + bias;
    }
}

/* An image, and its words, of 8 or of 16 bits. */
struct image {
    const void *pixels, *words;
    int width, height, is_deep;
};

static float grey_at(const struct image *image, int x, int y, float fill)
{
    if (x < 0 || y < 0 || x >= image->width || y >= image->height)
        return fill;
    const long place = (long)y * image->width + x;
    return image->is_deep ? ((const uint16_t *)image->pixels)[place] : ((const uint8_t *)image->pixels)[place];
}

/* One pixel anywhere. Beyond the image lies fill or, if it is negative, the image's edge. */
static float make_anywhere(const struct image *image, double u, double v, float fill)
{
    const int width = image->width, height = image->height;
    if (fill < 0) {
        u = fmin(fmax(u, 0), width - 1), v = fmin(fmax(v, 0), height - 1);
    } else if (!(u > -1 && v > -1 && u < width && v < height)) { /* also where one is not a number */
        return fill;
    }
    int x = (int)floor(u), y = (int)floor(v);
    float right = (float)(u - x), down = (float)(v - y);
    int x_next = fill < 0 && x == width - 1 ? x : x + 1, y_next = fill < 0 && y == height - 1 ? y : y + 1;
    float a = grey_at(image, x, y, fill), b = grey_at(image, x_next, y, fill);
    float c = grey_at(image, x, y_next, fill), d = grey_at(image, x_next, y_next, fill);
    float above = a + right * (b - a), below = c + right * (d - c);
    return above + down * (below - above);
}

/* Narrows [*first, *last) to the x with margin <= start + step * x <= limit - margin; to none if there is none, as where
 * start or step is not finite. */
static void narrow(double start, double step, double limit, double margin, double *first, double *last)
{
    if (!isfinite(start) || !isfinite(step)) {
        *last = *first;
        return;
    }
    if (fabs(step) < 1e-9) {
        if (start < margin || start > limit - margin)
            *last = *first;
        return;
    }
    double from = (margin - start) / step, to = (limit - margin - start) / step;
    if (from > to) {
        double other = from;
        from = to, to = other;
    }
    *first = fmax(*first, ceil(from)), *last = fmin(*last, floor(to));
    if (!(*first < *last))
        *last = *first;
}

static void make_all(const struct image *image, const double *inverses, const double *tones, int num_views, float fill,
                     float *views, long stride, int size)
{
    const int width = image->width, height = image->height;
    /* What is taken for inside must be inside in single precision too, which loses less than this along a row. */
    const double margin = fmax(1e-3, 4e-7 * fmax(width, height));
    for (int view = 0; view < num_views; view++) {
        const double *m = inverses + 6 * view;
        const float gain = (float)tones[2 * view], bias = (float)tones[2 * view + 1];
        for (int y = 0; y < size; y++) {
            float *out = views + view * stride + (long)y * size;
            const double u = m[1] * y + m[2], v = m[4] * y + m[5];
            int touched = 0, beyond = size; /* outside [touched, beyond), no neighbour lies in the image */
            if (fill >= 0) {
                double first = 0, last = size;
                narrow(u + 1, m[0], width + 1, 0, &first, &last);
                narrow(v + 1, m[3], height + 1, 0, &first, &last);
                touched = (int)fmin(first, size), beyond = (int)fmin(last + 1, size);
            }
            double first = touched, last = beyond;
            narrow(u, m[0], width - 1, margin, &first, &last);
            narrow(v, m[3], height - 1, margin, &first, &last);
            const int from = (int)fmin(first, beyond), to = (int)fmin(last, beyond);
            for (int x = 0; x < touched; x++)
                out[x] = fill * gain + bias;
            for (int x = touched; x < from; x++)
                out[x] = make_anywhere(image, m[0] * x + u, m[3] * x + v, fill) * gain + bias;
            const float right = (float)(m[0] * from + u), down = (float)(m[3] * from + v);
            const float du = (float)m[0], dv = (float)m[3];
            if (image->is_deep)
                make_deep_inside(image->words, width, right, du, down, dv, gain, bias, out + from, to - from);
            else
                make_inside(image->words, width, right, du, down, dv, gain, bias, out + from, to - from);
            for (int x = to; x < beyond; x++)
                out[x] = make_anywhere(image, m[0] * x + u, m[3] * x + v, fill) * gain + bias;
            for (int x = beyond; x < size; x++)
                out[x] = fill * gain + bias;
        }
    }
}

/* Views of one image.
 *
 * pixels      height * width grey levels
 * words       memory for height * width words
 * inverses    for each view six numbers: from its pixels to the image's
 * tones       for each view gain and bias
 * fill        grey level beyond the image; negative: the image's edge
 * views       the first view, size * size; each further one lies stride numbers behind the one before
 */
void make_views(const uint8_t *pixels, uint32_t *words, int width, int height, const double *inverses,
                const double *tones, int num_views, float fill, float *views, long stride, int size)
{
    const struct image image = {pixels, words, width, height, 0};
    gather_neighbours(pixels, width, height, words);
    make_all(&image, inverses, tones, num_views, fill, views, stride, size);
}

/* The same of grey levels 0 to 65535; so is fill. */
void make_deep_views(const uint16_t *pixels, uint64_t *words, int width, int height, const double *inverses,
                     const double *tones, int num_views, float fill, float *views, long stride, int size)
{
    const struct image image = {pixels, words, width, height, 1};
    gather_deep_neighbours(pixels, width, height, words);
    make_all(&image, inverses, tones, num_views, fill, views, stride, size);
}
