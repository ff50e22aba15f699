/* wrap_batch_norm.c: what batch_norm and group_gather use. Vectors of the units are host memory. */
#include "backend/checked/checked.h"

static void host_units(checked_call *c, const pfc_bn_units *u, bool affine)
{
    checked_host(c, "units->mean", u->mean);
    checked_host(c, "units->inv", u->inv);
    if (affine) checked_host(c, "units->weight", u->weight);
    if (affine) checked_host(c, "units->bias", u->bias);
    if (u->mean_g) checked_host(c, "units->mean_g", u->mean_g);
    if (u->mean_g) checked_host(c, "units->mean_gx", u->mean_gx);
}

static pfc_status checked_bn_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, double *grid)
{
    BEGIN(bn_grid);
    IN(x), HOST_OUT(grid, PFC_F64, shape.splits * shape.channels);
    END(bn_grid, shape, x, grid);
}

static pfc_status checked_bn_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, pfc_acc *acc)
{
    BEGIN(bn_sums);
    IN(x), HOST_IN(grid);
    END(bn_sums, shape, x, grid, acc);
}

static pfc_status checked_bn_moments(pfc_backend *be, const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var)
{
    BEGIN(bn_moments);
    HOST_IN(grid), HOST_OUT(mean, PFC_F64, acc->rows / 2), HOST_OUT(var, PFC_F64, acc->rows / 2);
    END(bn_moments, acc, grid, count, mean, var);
}

static pfc_status checked_bn_normalise(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    BEGIN(bn_normalise);
    IN(x), OUT(y), host_units(&call, units, true);
    END(bn_normalise, shape, x, units, y);
}

static pfc_status checked_bn_grad_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double *grid)
{
    BEGIN(bn_grad_grid);
    IN(x), IN(g), HOST_OUT(grid, PFC_F64, 2 * shape.channels), host_units(&call, units, false);
    END(bn_grad_grid, shape, x, g, units, grid);
}

static pfc_status checked_bn_grad_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    BEGIN(bn_grad_sums);
    IN(x), IN(g), HOST_IN(grid), host_units(&call, units, false);
    END(bn_grad_sums, shape, x, g, units, grid, acc);
}

static pfc_status checked_bn_values(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out)
{
    BEGIN(bn_values);
    HOST_OUT(out, PFC_F64, 2 * channels * (joined ? 1 : splits));
    END(bn_values, acc, channels, splits, joined, out);
}

static pfc_status checked_bn_backward(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad)
{
    BEGIN(bn_backward);
    IN(x), IN(g), OUT(x_grad), host_units(&call, units, true);
    END(bn_backward, shape, x, g, units, x_grad);
}

static pfc_status checked_bn_forward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, double eps, double *mean, double *var,
                                           double *inv, pfc_view y)
{
    BEGIN(bn_forward_alone);
    int64_t n = shape.splits * shape.channels;
    checked_host(&call, "units->weight", units->weight);
    checked_host(&call, "units->bias", units->bias);
    IN(x), OUT(y), HOST_OUT(mean, PFC_F64, n), HOST_OUT(var, PFC_F64, n), HOST_OUT(inv, PFC_F64, n);
    END(bn_forward_alone, shape, x, units, eps, mean, var, inv, y);
}

static pfc_status checked_bn_backward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double divisor,
                                            double *sums, pfc_view x_grad)
{
    BEGIN(bn_backward_alone);
    IN(x), IN(g), OPTIONAL_OUT(x_grad), HOST_OUT(sums, PFC_F64, 2 * shape.splits * shape.channels), host_units(&call, units, true);
    END(bn_backward_alone, shape, x, g, units, divisor, sums, x_grad);
}

static pfc_status checked_gather_expo(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    BEGIN(gather_expo);
    IN(x);
    END(gather_expo, x, acc);
}

static pfc_status checked_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    BEGIN(gather_add);
    IN(x);
    END(gather_add, x, acc);
}

void pfc_checked_wrap_batch_norm(pfc_ops *table)
{
    SET(bn_grid);
    SET(bn_sums);
    SET(bn_moments);
    SET(bn_normalise);
    SET(bn_grad_grid);
    SET(bn_grad_sums);
    SET(bn_values);
    SET(bn_backward);
    SET(bn_forward_alone);
    SET(bn_backward_alone);
    SET(gather_expo);
    SET(gather_add);
}
