import Foundation
import TensorCore

/// Media as rows of u8 tensors of a safetensors file: `image` `[rows, channels, height, width]`, `audio`
/// `[rows, 1, mel bins, frames]`.
public struct MediaTable: Sendable {
  private let file: SafetensorsFile
  /// The largest medium in bytes, far above what models take.
  private static let rowLimit = 1 << 26

  /// Opens the file.
  ///
  /// - Throws: `SafetensorsError`, `DataSetError.noMediaFile`.
  public init(path: String) throws {
    guard FileManager.default.fileExists(atPath: path) else {
      throw DataSetError.noMediaFile(path: path, expected: URL(fileURLWithPath: path).lastPathComponent)
    }
    file = try SafetensorsFile(path: path)
  }

  /// Where the media lie.
  public var path: String { file.path }

  /// One row.
  ///
  /// - Parameters:
  ///   - record: The record that asks, for messages.
  ///   - key: Its key that names the row.
  public func medium(_ modality: Modality, row: Int, record: String, key: String) throws -> Medium {
    guard let tensor = file[modality.rawValue], tensor.elementType == .u8, tensor.shape.count >= 2 else {
      throw DataSetError.noMediaTensor(path: file.path, tensor: modality.rawValue)
    }
    guard 0..<tensor.shape[0] ~= row else {
      throw DataSetError.rowOutOfRange(
        path: file.path, record: record, key: key, row: row, count: tensor.shape[0])
    }
    var shape = Array(tensor.shape.dropFirst())
    // Sound has one channel, which is no axis of a log-mel.
    if modality == .audio, shape.count == 3, shape[0] == 1 { shape.removeFirst() }
    let size = shape.reduce(1, *)
    guard size <= Self.rowLimit else {
      throw DataSetError.rowTooLarge(
        path: file.path, tensor: modality.rawValue, found: size, limit: Self.rowLimit)
    }
    let name = URL(fileURLWithPath: file.path).deletingPathExtension().lastPathComponent
    return Medium(
      modality: modality, shape: shape, bytes: tensor.storage.bytes(row * size..<(row + 1) * size),
      identity: "\(name)/\(row)")
  }
}

extension MediaTable {
  /// How many rows there are of a modality.
  ///
  /// - Throws: `DataSetError.noMediaTensor`.
  public func count(of modality: Modality) throws(DataSetError) -> Int {
    guard let tensor = file[modality.rawValue], let count = tensor.shape.first else {
      throw .noMediaTensor(path: file.path, tensor: modality.rawValue)
    }
    return count
  }

  /// What each row shows, from the tensor `label`.
  ///
  /// - Throws: `DataSetError.noMediaTensor`, `StoredTensorError`.
  public func labels() throws -> [Int] {
    guard let tensor = file["label"] else {
      throw DataSetError.noMediaTensor(path: file.path, tensor: "label")
    }
    return try tensor.integers()
  }
}
