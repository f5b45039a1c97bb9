"""Lay a slice on a plane with another program, in its own environment.

``python align.py SimpleITK|scikit-image input.npz output.npz``.  The input holds `plane` and
`slice_image`, both (Y, X) float32.  The output holds `field` (Y, X, 2), the offset (y, x) from
every pixel of the plane to its position in the slice; `cpu_s`; and `version`.
"""

# ruff: noqa: ANN001, ANN201, PLC0415  (types and imports are another program's)

import sys
import time
from importlib import metadata

import numpy as np


def with_simpleitk(plane, slice_image):
    """Mattes mutual information: affine, then cubic B-splines on a mesh of 8 x 8."""
    import SimpleITK as sitk  # noqa: N813  (its own habit)

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    fixed, moving = (sitk.GetImageFromArray(image) for image in (plane, slice_image))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(48)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 150)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([3, 1.5, 1])
    start = sitk.CenteredTransformInitializer(fixed, moving, sitk.AffineTransform(2))
    method.SetInitialTransform(start, inPlace=False)
    affine = method.Execute(fixed, moving)
    bent = sitk.ImageRegistrationMethod()
    bent.SetMetricAsMattesMutualInformation(48)
    bent.SetInterpolator(sitk.sitkLinear)
    bent.SetMetricSamplingStrategy(bent.REGULAR)
    bent.SetMetricSamplingPercentage(0.2)
    bent.SetOptimizerAsLBFGSB(numberOfIterations=30)
    bent.SetShrinkFactorsPerLevel([2, 1])
    bent.SetSmoothingSigmasPerLevel([1.5, 1])
    bent.SetMovingInitialTransform(affine)
    bent.SetInitialTransform(sitk.BSplineTransformInitializer(fixed, [8, 8]), inPlace=True)
    spline = bent.Execute(fixed, moving)
    whole = sitk.CompositeTransform([affine, spline])
    made = sitk.TransformToDisplacementField(
        whole, sitk.sitkVectorFloat64, fixed.GetSize(), fixed.GetOrigin(), fixed.GetSpacing()
    )
    return sitk.GetArrayFromImage(made)[..., ::-1]


def with_skimage(plane, slice_image):
    """Variational flow (TV-L1) between blobs of the size of nuclei, after a rigid shift."""
    from scipy.ndimage import shift
    from skimage.filters import difference_of_gaussians
    from skimage.registration import optical_flow_tvl1, phase_cross_correlation

    blobs = [difference_of_gaussians(image, 3, 9) for image in (plane, slice_image)]
    blobs = [(image - image.min()) / np.ptp(image) for image in blobs]  # as its settings expect
    whole, _, _ = phase_cross_correlation(*blobs, upsample_factor=10, normalization=None)
    flow = optical_flow_tvl1(blobs[0], shift(blobs[1], whole, order=1, mode="nearest"))
    return np.moveaxis(flow, 0, -1) - whole


def main():
    """Run one program on one pair of images."""
    name, source, target = sys.argv[1:]
    with np.load(source) as given:
        plane, slice_image = given["plane"], given["slice_image"]
    align = {"SimpleITK": with_simpleitk, "scikit-image": with_skimage}[name]
    align(plane[:64, :64], slice_image[:64, :64])
    start = time.process_time()
    field = align(plane, slice_image)
    cpu_s = time.process_time() - start
    np.savez(target, field=field, cpu_s=cpu_s, version=metadata.version(name))


if __name__ == "__main__":
    main()
