import CKernels
import COpenBLAS

/// What this program was built from and computes with.
public enum BuildFacts {
  /// The commit it was built from; nil where the build did not know.
  public static var commit: String? {
    let text = unsafe String(cString: ck_build_commit())
    return text.isEmpty ? nil : text
  }

  /// The linear-algebra library: version, options and the kernels it chose for this processor.
  public static var blasConfiguration: String {
    let text = unsafe String(cString: openblas_get_config())
    return String(text.split(separator: " ").joined(separator: " "))
  }
}
