import XCTest

@testable import TensorCore

final class BufferPoolTests: XCTestCase {
  private typealias Part = FreeRanges.Part

  func testFreedNeighboursJoin() {
    var free = FreeRanges()
    free.insert(Part(start: 100, byteCount: 10))
    free.insert(Part(start: 120, byteCount: 10))
    XCTAssertEqual(free.parts.count, 2)
    free.insert(Part(start: 110, byteCount: 10))
    XCTAssertEqual(free.parts, [Part(start: 100, byteCount: 30)])
    free.insert(Part(start: 90, byteCount: 10))
    free.insert(Part(start: 200, byteCount: 5))
    XCTAssertEqual(free.parts, [Part(start: 90, byteCount: 40), Part(start: 200, byteCount: 5)])
    XCTAssertEqual(free.byteCount, 45)
  }

  func testTheSmallestPartThatFitsIsTaken() {
    var free = FreeRanges()
    free.insert(Part(start: 100, byteCount: 30))
    free.insert(Part(start: 200, byteCount: 12))
    XCTAssertEqual(free.take(10), 200)
    XCTAssertEqual(free.take(10), 100)
    XCTAssertNil(free.take(25))
    XCTAssertEqual(free.take(20), 110)
    XCTAssertEqual(free.parts, [Part(start: 210, byteCount: 2)])
    XCTAssertEqual(free.byteCount, 2)
  }

  func testNoMoreIsEvictedThanAsked() {
    var free = FreeRanges()
    free.insert(Part(start: 100, byteCount: 30))
    free.insert(Part(start: 200, byteCount: 12))
    XCTAssertEqual(free.evict(down: 42), [])
    XCTAssertEqual(free.evict(down: 20), [Part(start: 200, byteCount: 12), Part(start: 100, byteCount: 10)])
    XCTAssertEqual(free.parts, [Part(start: 110, byteCount: 20)])
    XCTAssertEqual(free.evict(down: 0), [Part(start: 110, byteCount: 20)])
    XCTAssertEqual(free.byteCount, 0)
  }

  /// Random requests of all sizes, each filled with its own number: no buffer may share memory with another.
  func testBuffersNeverOverlap() {
    var state: UInt64 = 7
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    var held: [(tensor: Tensor, mark: Float)] = []
    for step in 0..<300 {
      if held.count > 12 || (!held.isEmpty && random(3) == 0) {
        let (tensor, mark) = held.remove(at: random(held.count))
        XCTAssertTrue(tensor.hostValues().allSatisfy { $0 == mark }, "step \(step)")
      } else {
        held.append((Tensor(repeating: Float(step), shape: [1 + random(1 << 20)]), Float(step)))
      }
    }
  }
}
