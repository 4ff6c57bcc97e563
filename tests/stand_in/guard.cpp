// A torch that was built without CUDA has no guard of CUDA devices, which indexing a tensor that says it is on one asks
// for. This guard does nothing, and knows of no device.
#include <c10/core/impl/DeviceGuardImplInterface.h>

struct NoDevices final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> {
  c10::DeviceIndex deviceCount() const noexcept override { return 0; }
};

C10_REGISTER_GUARD_IMPL(CUDA, NoDevices)
