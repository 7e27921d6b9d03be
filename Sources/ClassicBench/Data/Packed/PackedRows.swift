import RunKit
import TensorCore

/// The inputs of one modality of a packed split; only the rows that are asked for are converted.
struct PackedRows: SampleRows {
  private let modality: PackedModality
  /// The tensor of each shard, and its first sample.
  private let tensors: [StoredTensor]
  private let starts: [Int]
  let count: Int
  /// What the byte of each channel of a picture becomes, `[channel][byte]`.
  private let levels: [[Float]]

  /// - Parameters:
  ///   - modality: Of a fixed shape.
  ///   - tensors: Of the shards in their order, checked against the manifest.
  init(_ modality: PackedModality, _ tensors: [StoredTensor]) {
    require(modality.isFixed, "\(modality.name) has samples of different lengths")
    (self.modality, self.tensors) = (modality, tensors)
    var (starts, count) = ([Int](), 0)
    for tensor in tensors {
      starts.append(count)
      count += tensor.shape[0]
    }
    (self.starts, self.count) = (starts, count)
    levels = zip(modality.mean, modality.deviation).map { mean, deviation in
      (0..<256).map { Float((Double($0) / 255 - mean) / deviation) }
    }
  }

  var shape: [Int] { modality.inputShape }

  /// The stored elements of one sample.
  private func stored(_ index: Int) -> StoredTensor {
    require(0..<count ~= index, "sample \(index) of \(count)")
    let shard = (starts.firstIndex { $0 > index } ?? starts.count) - 1
    let size = modality.shape.reduce(1, *)
    let row = index - starts[shard]
    return tensors[shard].slice(row * size..<(row + 1) * size)
  }

  func tensor(_ indices: [Int], _ draw: AugmentationDraw?) -> Tensor {
    var values: [Float] = []
    values.reserveCapacity(indices.count * shape.reduce(1, *))
    for index in indices {
      if modality.kind == .pictures {
        appendPictures(index, draw, to: &values)
      } else {
        // Opening has found the type to be F32.
        values += (try? stored(index).floats()) ?? []
      }
    }
    return Tensor(values, shape: [indices.count] + shape)
  }

  private func appendPictures(_ index: Int, _ draw: AugmentationDraw?, to values: inout [Float]) {
    let (frames, side, channels) = (modality.shape[0], modality.shape[1], modality.shape[3])
    let transform = PictureTransform(
      side: side, channels: channels, inputSide: modality.inputSide, cropsCentre: modality.cropsCentre)
    var window: PictureAugmentation.Window?
    if let draw, let augmentation = modality.augmentation {
      var stream = draw.stream(index)
      window = augmentation.window(&stream)
    }
    let bytes = stored(index).bytes()
    let size = side * side * channels
    for frame in 0..<frames {
      let picture = transform.frame(Array(bytes[frame * size..<(frame + 1) * size]), window)
      if channels == 1 {
        let table = levels[0]
        for byte in picture { values.append(table[Int(byte)]) }
      } else {
        for start in stride(from: 0, to: picture.count, by: channels) {
          for channel in 0..<channels { values.append(levels[channel][Int(picture[start + channel])]) }
        }
      }
    }
  }
}
