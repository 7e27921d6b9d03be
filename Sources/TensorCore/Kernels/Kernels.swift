/// The Swift side of the inner loops: sizes are checked here, then C is called.
///
/// Everything below this folder that touches raw memory lives in an extension of this type.
enum Kernels {
  /// Elements a chunk of an elementwise kernel covers: 64 KiB in and out stay in the cache.
  static let elementsPerChunk = 1 << 14

  /// Copies host values into a fresh tensor of as many elements.
  static func copy(_ values: [Float], to tensor: Tensor) {
    require(values.count == tensor.count, "\(values.count) values for \(tensor.count) elements")
    unsafe values.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { unsafe tensor.base.update(from: base, count: source.count) }
    }
  }

  /// Sets every element of a fresh tensor to one value.
  static func fill(_ tensor: Tensor, with value: Float) {
    unsafe tensor.base.update(repeating: value, count: tensor.count)
  }

  /// The elements of a tensor as an array.
  static func array(of tensor: Tensor) -> [Float] {
    let count = tensor.count
    return unsafe [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
      if let target = buffer.baseAddress { unsafe target.update(from: tensor.base, count: count) }
      initialized = count
    }
  }

  /// Σ a b over all elements in their order, in double precision.
  static func innerProduct(_ left: Tensor, _ right: Tensor) -> Double {
    let (a, b) = unsafe (left.base, right.base)
    var sum = 0.0
    for index in 0..<left.count { unsafe sum += Double(a[index]) * Double(b[index]) }
    return sum
  }
}

extension Tensor {
  /// The first element; valid as long as the tensor.
  var base: UnsafeMutablePointer<Float> { unsafe storage.pointer + offset }
}

/// A pointer that crosses into the closure of a parallel kernel.
///
/// `@unchecked Sendable`: a kernel's chunks write disjoint parts, and the call returns only when all are done.
@safe struct Shared<Pointee>: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<Pointee>
  init(_ pointer: UnsafeMutablePointer<Pointee>) { unsafe self.pointer = pointer }
}

/// The read-only twin of `Shared`.
@safe struct SharedConstant<Pointee>: @unchecked Sendable {
  let pointer: UnsafePointer<Pointee>
  init(_ pointer: UnsafePointer<Pointee>) { unsafe self.pointer = pointer }
}
